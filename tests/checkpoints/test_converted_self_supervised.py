"""Self-supervised weights of MoCo v3, SwAV and DINOv2; the others: test_converted_networks.py."""

import pytest
import torch
import torchvision

from luss_mm.checkpoints.conversion import convert_checkpoint
from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint
from tests.checkpoints.test_converted_networks import (
    SMALL_VIT,
    assert_same,
    assert_same_weights,
    backbone_with,
    converted,
    images,
    written_back,
)
from tests.published_networks import PublishedViT, randomise
from tests.published_self_supervised import ScaledBlock, moco_v3_checkpoint

SCALED_VIT = dict(SMALL_VIT, layer_scale_init_value=1.0)


def small_resnet():
    """torchvision's bottlenecks, two stages deep enough to have every kind of key."""
    network = torchvision.models.ResNet(
        torchvision.models.resnet.Bottleneck, [1, 2, 1, 1], width_per_group=64
    )
    del network.fc
    return randomise(network)


def ours_and(theirs, tmp_path):
    """Names of torchvision's ResNet and mmseg's agree, so that is all there is to a ResNet."""
    expected = {f'backbone.{key}': tensor for key, tensor in theirs.state_dict().items()}
    return load_checkpoint(tmp_path / 'target.pth')['state_dict'], expected


def keys_below(*names):
    return tuple(f'module.{name}.' for name in names)


@torch.no_grad()
def test_moco_v3_vision_transformer(tmp_path):
    theirs, slow = randomise(PublishedViT()), randomise(PublishedViT(), seed=1)
    content = moco_v3_checkpoint(theirs, 'head', slow.state_dict())
    result = converted('moco-v3-vit', content, tmp_path)
    beside = keys_below('base_encoder.head', 'momentum_encoder', 'predictor')
    assert all(key.startswith(beside) for key in result.dropped)
    assert result.beside == ('epoch', 'arch', 'optimizer')
    (actual,) = backbone_with(tmp_path / 'target.pth', SMALL_VIT)(images(32))
    assert_same(actual, theirs(images(32)))
    assert (actual - slow(images(32))).abs().max() > 0.1
    named = {f'module.base_encoder.{k}': v for k, v in theirs.state_dict().items()}
    assert_same_weights(written_back('moco-v3-vit', tmp_path), named)


@torch.no_grad()
def test_moco_v3_resnet(tmp_path):
    theirs = small_resnet()
    content = moco_v3_checkpoint(theirs, 'fc', randomise(small_resnet(), seed=1).state_dict())
    result = converted('moco-v3-resnet', content, tmp_path)
    assert {key.split('.')[1] for key in result.dropped} == {
        'base_encoder',
        'momentum_encoder',
        'predictor',
    }
    assert_same_weights(*ours_and(theirs, tmp_path))


@torch.no_grad()
@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: dict(state_dict=s, epoch=1)])
def test_swav(tmp_path, wrap):
    """Its padding of 1 and 2 is the 3 of ours; see PASS, which has it from there."""
    theirs = small_resnet()
    heads = {
        'projection_head.0.weight': torch.rand(2, 2),
        'projection_head.1.running_mean': torch.rand(2),
        'prototypes.prototypes0.weight': torch.rand(2, 2),
    }
    state = {f'module.{k}': v for k, v in (theirs.state_dict() | heads).items()}
    result = converted('swav-resnet', wrap(state), tmp_path)
    assert {key.removeprefix('module.') for key in result.dropped} == set(heads)
    assert_same_weights(*ours_and(theirs, tmp_path))


@torch.no_grad()
@pytest.mark.parametrize('prefix, container', [('', None), ('backbone.', 'teacher')])
def test_dinov2_and_back(tmp_path, prefix, container):
    theirs = randomise(PublishedViT(block=ScaledBlock))
    state = {f'{prefix}{k}': v for k, v in theirs.state_dict().items()}
    state[f'{prefix}mask_token'] = torch.rand(1, 8)
    if container:
        state['dino_head.mlp.0.weight'] = torch.rand(4, 8)
    result = converted('dinov2', {container: state} if container else state, tmp_path)
    assert set(result.dropped) == state.keys() - {f'{prefix}{k}' for k in theirs.state_dict()}
    (actual,) = backbone_with(tmp_path / 'target.pth', SCALED_VIT)(images(32))
    assert_same(actual, theirs(images(32)))
    assert_same_weights(written_back('dinov2', tmp_path), theirs.state_dict())


@pytest.mark.parametrize(
    'kind, lost, added, message',
    [
        ('dinov2', 'blocks.1.ls2.gamma', {}, '1 missing: blocks.1.ls2.gamma'),
        ('dinov2', None, {'register_tokens': torch.rand(1, 4, 8)}, '1 unknown: register_tokens'),
        ('dino', None, {}, '4 unknown: blocks.0.ls1.gamma'),
    ],
)
def test_what_is_no_plain_dinov2_is_named(tmp_path, kind, lost, added, message):
    state = dict(PublishedViT(block=ScaledBlock).state_dict()) | added
    state.pop(lost, None)
    torch.save(state, tmp_path / 'source.pth')
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(kind, tmp_path / 'source.pth', tmp_path / 'target.pth')
