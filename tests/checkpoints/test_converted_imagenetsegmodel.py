"""Fine-tuned networks of ImageNetSegModel with heads, against forward passes spelt out here."""

import argparse
import json

import pytest
import torch
from mmseg.registry import MODELS
from torch.nn import functional as F

from luss_mm.checkpoints.conversion import convert_checkpoint
from luss_mm.checkpoints.loading import CheckpointError, load_weights
from tests.checkpoints.test_converted_networks import (
    SMALL_CONVNEXT,
    SMALL_RESNET,
    SMALL_VIT,
    assert_same,
    assert_same_weights,
    converted,
    images,
    written_back,
)
from tests.published_networks import PublishedConvNeXt, PublishedPASS, PublishedViT, randomise

CATEGORIES = 5
RATES = [(1, 1), (2, 2), (4, 4), (1, 2)]  # in turn, of the convolutions
BRANCHES = {  # of 3 with an expansion of .5, worked out by hand; halves are rounded to even
    (1, 1): [(1, 1), (2, 2)],
    (2, 2): [(1, 1), (2, 2), (3, 3)],
    (4, 4): [(2, 2), (4, 4), (6, 6)],
    (1, 2): [(1, 1), (1, 2), (2, 3)],
}


def saved(state):
    """As ImageNetSegModel's save_model writes it."""
    return dict(model=state, optimizer={}, epoch=99, args=argparse.Namespace(blr=1e-4, model='x'))


def our_logits(tmp_path, backbone, head, **options):
    decode_head = dict(type='LinearHead', num_classes=CATEGORIES, ignore_index=1000) | head
    kind = dict(type='LUSSSegmentor') | options
    model = MODELS.build(
        kind | dict(backbone=backbone, decode_head=decode_head, test_cfg=dict(mode='whole'))
    )
    load_weights(model, tmp_path / 'target.pth')
    model.eval()
    return lambda x: model.decode_head(model.extract_feat(x))


@torch.no_grad()
def test_vision_transformer(tmp_path):
    theirs = randomise(PublishedViT(norm_name='fc_norm'))
    head = randomise(torch.nn.Conv2d(8, CATEGORIES, 1))
    state = theirs.state_dict() | {f'head.{k}': v for k, v in head.state_dict().items()}
    assert not converted('imagenetsegmodel-vit', saved(state), tmp_path).dropped
    ours = our_logits(
        tmp_path,
        SMALL_VIT | dict(final_norm=False),
        dict(in_channels=8, norm_cfg=dict(type='LN', eps=1e-6)),
    )
    assert_same(ours(images(32)), head(theirs(images(32))))
    assert_same_weights(written_back('imagenetsegmodel-vit', tmp_path), state)


@torch.no_grad()
def test_resnet(tmp_path):
    theirs = randomise(PublishedPASS('finetune'))
    state = {k.replace('last_layer', 'head'): v for k, v in theirs.state_dict().items()}
    converted('imagenetsegmodel-resnet', saved(state), tmp_path)
    ours = our_logits(tmp_path, SMALL_RESNET, dict(in_channels=64, in_index=3))
    assert_same(ours(images()), theirs.last_layer(theirs.maps(images())[3]))
    assert_same_weights(written_back('imagenetsegmodel-resnet', tmp_path), state)


class Theirs(PublishedConvNeXt):
    """Their ConvNeXt with a head of 4 x 4 classifications, or RF-ConvNeXt of a mode."""

    def __init__(self, mode=None):
        super().__init__(timm=True)
        self.mode = mode
        self.head = randomise(torch.nn.Conv2d(32, CATEGORIES * 16, 1))
        self.fields = {}
        randomise(self)
        for key in list(self.tensors):
            if mode and key.endswith('conv_dw/weight'):
                self._search(key.removesuffix('/weight'))

    def _search(self, name):
        middle = RATES[len(self.fields) % len(RATES)]
        rates = [middle] if self.mode == 'single' else BRANCHES[middle]
        weights = torch.tensor([0.2, -0.5, 0.3])
        if self.mode == 'merge':
            reach = BRANCHES[middle][-1]
            kernel = (6 * reach[0] + 1, 6 * reach[1] + 1)
            channels = len(self.tensors[f'{name}/weight'])
            self.tensors[f'{name}/weight'] = torch.nn.Parameter(torch.randn(channels, 1, *kernel))
            rates = [(1, 1)]
        self.fields[name] = (rates, weights, middle)

    def published(self):
        state = super().published()
        state = {k.replace('head.norm', 'seg_norm'): v for k, v in state.items()}
        for key in [key for key in state if key.startswith('head.')]:
            del state[key]
        state |= {f'seg_head.fc.{k}': v for k, v in self.head.state_dict().items()}
        for name, (rates, weights, _) in self.fields.items():
            buffer = torch.ones(3, 2, dtype=torch.int32)
            buffer[: len(rates)] = torch.tensor(rates)
            own = dict(
                counter=torch.zeros(1),
                current_search_step=torch.full((1,), 3.0),
                rates=buffer,
                num_rates=torch.tensor([len(rates)], dtype=torch.int32),
            )
            if self.mode in ('search', 'multiple'):
                own['sample_weights'] = weights
            state |= {f'{name.replace("/", ".")}.{k}': v for k, v in own.items()}
        return state

    def _residual(self, x, block):
        if not self.mode:
            return super()._residual(x, block)
        width, depthwise = x.shape[1], f'{block}/conv_dw'
        rates, weights, _ = self.fields[depthwise]
        shares = weights[: len(rates)].abs() / weights[: len(rates)].abs().sum()
        kernel, bias = self._pair(depthwise)
        padded = [(k - 1) // 2 for k in kernel.shape[2:]]
        x = sum(
            share
            * F.conv2d(
                x,
                kernel,
                bias,
                padding=[p * r for p, r in zip(padded, rate, strict=True)],
                dilation=rate,
                groups=width,
            )
            for share, rate in zip(shares, rates, strict=True)
        )
        x = self._norm(x, f'{block}/norm')
        x = self._mix(F.gelu(self._mix(x, f'{block}/mlp/fc1')), f'{block}/mlp/fc2')
        return self.tensors[f'{block}/gamma'][:, None, None] * x

    def logits(self, x):
        x = self.head(self(x))
        batch, _, h, w = x.shape
        logits = torch.zeros(batch, CATEGORIES, 4 * h, 4 * w)
        for row in range(4):
            for column in range(4):
                first = (row * 4 + column) * CATEGORIES
                logits[:, :, row::4, column::4] = x[:, first : first + CATEGORIES]
        return logits


HEAD = dict(in_channels=32, patch_size=4, dropout_ratio=0.0)


@torch.no_grad()
def test_convnext(tmp_path):
    theirs = Theirs()
    state = theirs.published()
    converted('imagenetsegmodel-convnext', saved(state), tmp_path)
    ours = our_logits(tmp_path, SMALL_CONVNEXT, HEAD)
    assert_same(ours(images()), theirs.logits(images()))
    assert_same_weights(written_back('imagenetsegmodel-convnext', tmp_path), state)


@torch.no_grad()
@pytest.mark.parametrize('mode', ['search', 'single', 'multiple', 'merge'])
def test_rf_convnext(tmp_path, mode):
    theirs = Theirs(mode)
    kind = f'imagenetsegmodel-rf-convnext-{mode}'
    torch.save(saved(theirs.published()), tmp_path / 'source.pth')
    result = convert_checkpoint(kind, tmp_path / 'source.pth', tmp_path / 'target.pth')
    assert {key.rpartition('.')[2] for key in result.dropped} == {'counter', 'current_search_step'}
    structure = json.loads((tmp_path / 'target.json').read_text())
    found = [tuple(pair) for pair in structure.values()]
    assert found == [middle for *_, middle in theirs.fields.values()]
    settings = {} if mode == 'search' else dict(structure=tmp_path / 'target.json')
    ours = our_logits(
        tmp_path, SMALL_CONVNEXT, HEAD, type='ReceptiveFieldSegmentor', mode=mode, **settings
    )
    assert_same(ours(images()), theirs.logits(images()))
    state = theirs.published()
    begun = {k: 0 * v if 'current_search_step' in k else v for k, v in state.items()}
    assert_same_weights(written_back(kind, tmp_path), begun)
    other = dict(search='single').get(mode, 'search')
    if mode not in (other, 'multiple'):  # of search and multiple all names are the same
        torch.save(saved(state), tmp_path / 'source.pth')
        with pytest.raises(CheckpointError, match='unknown|not of mode|missing'):
            convert_checkpoint(
                f'imagenetsegmodel-rf-convnext-{other}',
                tmp_path / 'source.pth',
                tmp_path / 'other.pth',
            )


@torch.no_grad()
def test_vision_transformer_of_mmsegmentation(tmp_path):
    """mmseg's own network, which trained the published checkpoints, beside the recipe's."""
    head = dict(
        type='FCNHead', in_channels=8, channels=8, num_convs=0, num_classes=CATEGORIES
    ) | dict(norm_cfg=dict(type='BN'))
    theirs = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='VisionTransformer',
                img_size=(32, 32),
                patch_size=8,
                embed_dims=8,
                num_layers=2,
                num_heads=2,
                out_indices=(0, 1),
                norm_cfg=dict(type='LN', eps=1e-6),
                patch_bias=True,
                final_norm=True,
            ),
            decode_head=head,
        )
    )
    state = randomise(theirs).state_dict()
    assert not converted(
        'mmseg-imagenets-vit', dict(meta={}, state_dict=state, optimizer={}), tmp_path
    ).dropped
    ours = our_logits(tmp_path, SMALL_VIT, dict(norm_cfg=None) | head)
    assert_same(ours(images(32)), theirs.decode_head(theirs.extract_feat(images(32))))
    theirs.load_state_dict(written_back('mmseg-imagenets-vit', tmp_path), strict=True)


def test_a_head_without_patches_is_named(tmp_path):
    state = Theirs().published()
    state |= {'seg_head.fc.weight': torch.rand(5, 32, 1, 1), 'seg_head.fc.bias': torch.rand(5)}
    torch.save(saved(state), tmp_path / 'source.pth')
    with pytest.raises(CheckpointError, match='has 5 outputs, no multiple of 16'):
        convert_checkpoint(
            'imagenetsegmodel-convnext', tmp_path / 'source.pth', tmp_path / 'target.pth'
        )
