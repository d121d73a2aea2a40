import os

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from luss_mm.checkpoints.conversion import convert_centroids, convert_checkpoint
from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint
from tests.checkpoints.test_converted_networks import SEGMENTOR, SMALL_VIT, converted
from tests.published_networks import PublishedViT, randomise


def test_mmengine_loads_the_result_into_a_backbone(tmp_path):
    theirs = randomise(PublishedViT())
    converted('dino', theirs.state_dict(), tmp_path)
    checkpoint = str(tmp_path / 'target.pth')
    initial = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    backbone = MODELS.build(SMALL_VIT | dict(init_cfg=initial))
    backbone.init_weights()
    assert torch.equal(backbone.layers[1].ln2.weight, theirs.blocks[1].norm2.weight)
    assert torch.equal(backbone.pos_embed, theirs.pos_embed)


def refusal(tmp_path, kind, content, **options):
    torch.save(content, tmp_path / 'source.pth')
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(kind, tmp_path / 'source.pth', tmp_path / 'target.pth', **options)
    assert [p.name for p in tmp_path.iterdir()] == ['source.pth']
    return str(error.value)


def test_what_is_wrong_is_named(tmp_path):
    state = randomise(PublishedViT()).state_dict()
    assert 'source.pth: not a checkpoint of MAE' in refusal(
        tmp_path, 'mae', {'neck.weight': state['cls_token']}
    )
    assert "'epoch' is no tensor but a int" in refusal(tmp_path, 'dino', state | dict(epoch=1))
    assert "has no 'ema', only cls_token" in refusal(tmp_path, 'dino', state, container='ema')
    assert "'ema' holds no named tensors" in refusal(tmp_path, 'dino', dict(ema=1), container='ema')
    both = dict(model=state, teacher=state)
    assert 'may lie under any of model, teacher' in refusal(tmp_path, 'dino', both)
    assert 'holds a list, not named tensors' in refusal(tmp_path, 'dino', [1, 2])
    assert converted('dino', both, tmp_path, container='teacher').beside == ('model',)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_code_is_not_executed(tmp_path):
    marker = tmp_path.parent / f'{tmp_path.name}_executed'
    state = randomise(PublishedViT()).state_dict()
    message = refusal(tmp_path, 'dino', state | dict(extra=Payload(marker)))
    assert 'could execute code' in message and not marker.exists()


def test_an_existing_target_is_kept(tmp_path):
    (tmp_path / 'target.pth').write_text('mine')
    with pytest.raises(FileExistsError, match='target.pth: exists already'):
        convert_checkpoint('dino', tmp_path / 'source.pth', tmp_path / 'target.pth')
    with pytest.raises(FileExistsError, match='target.pth: exists already'):
        convert_centroids(tmp_path / 'source.npy', tmp_path / 'target.pth')
    assert (tmp_path / 'target.pth').read_text() == 'mine'


def test_the_result_must_fit_the_model(tmp_path):
    state = randomise(PublishedViT()).state_dict()
    wider = SMALL_VIT['arch'] | dict(feedforward_channels=16)
    deeper = SMALL_VIT['arch'] | dict(num_layers=3)

    def segmentor(**changes):
        head = SEGMENTOR['decode_head'] | dict(in_channels=8, channels=8, in_index=0)
        return SEGMENTOR | dict(backbone=SMALL_VIT | changes, decode_head=head)

    message = refusal(tmp_path, 'dino', state, model=segmentor(arch=wider))
    assert 'layers.0.ffn.layers.0.0.weight' in message and 'size mismatch' in message
    message = refusal(tmp_path, 'dino', state, model=segmentor(arch=deeper))
    assert 'the weights have no backbone.layers.2.ln1.weight' in message
    message = refusal(tmp_path, 'dino', state, model=SEGMENTOR)
    assert 'the model has no backbone.cls_token' in message
    converted('dino', state, tmp_path, model=segmentor(img_size=48, final_norm=False))
    resized = load_checkpoint(tmp_path / 'target.pth')['state_dict']['backbone.pos_embed']
    assert torch.equal(resized, state['pos_embed'])


@pytest.mark.parametrize(
    'content, message',
    [
        (np.zeros((3, 2)), 'centroid 0 is zero or not finite; so 3'),
        (np.full((1, 2), np.nan), 'centroid 0 is zero or not finite'),
        (np.ones(3), r'have \(3,\)'),
        (np.ones((3, 0)), r'have \(3, 0\)'),
        (np.ones((3, 2), int), 'floats, these are int64'),
        (np.array([dict(a=1)], object), 'not a plain .npy array'),
        (b'', 'not a plain .npy array'),
        (b'PK\x03\x04', 'not a plain .npy array'),
        (b'\x93NUMPY\x01\x00\x06\x00{"a":(', 'not a plain .npy array'),
    ],
)
def test_bad_centroids_are_refused(tmp_path, content, message):
    source = tmp_path / 'centroids.npy'
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        np.save(source, content, allow_pickle=True)
    with pytest.raises(CheckpointError, match=message):
        convert_centroids(source, tmp_path / 'ours.npy')
    assert not (tmp_path / 'ours.npy').exists()
