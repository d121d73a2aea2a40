"""Weights of an installed package, by the name `package:<name>`."""

import dataclasses

import pytest
import torch

from luss_mm import packaged_weights
from luss_mm.checkpoints.conversion import convert_checkpoint
from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint
from luss_mm.engine.hooks import PretrainedWeightsHook
from luss_mm.packaged_weights import PACKAGED_WEIGHTS, checkpoint_file

NAME = 'package:efficientnet_lite0'


@pytest.fixture(scope='module')
def source():
    return checkpoint_file(NAME)


def test_the_file_converts_to_the_same_and_back(source, tmp_path):
    target, back = tmp_path / 'lite0.pth', tmp_path / 'back.pth'
    result = convert_checkpoint('efficientnet-lite0', source, target)
    ours, published = load_checkpoint(NAME), load_checkpoint(source)
    assert result.dropped == ours['meta']['converted_from']['dropped']
    assert len(result.state) + len(result.dropped) == len(published)
    assert 'ImageNet' in ours['meta']['labels_used']
    for key, value in load_checkpoint(target)['state_dict'].items():
        assert torch.equal(ours['state_dict'][key], value), key
    convert_checkpoint('efficientnet-lite0', target, back, backwards=True)
    for key, value in load_checkpoint(back).items():
        assert torch.equal(published[key], value), key


@pytest.mark.parametrize('name, found', [(NAME, "'.[photos]'"), ('package:lite0', NAME)])
def test_what_is_not_there_is_named_before_anything_runs(monkeypatch, name, found):
    monkeypatch.setattr(packaged_weights, 'find_spec', lambda module: None)
    with pytest.raises(FileNotFoundError, match='package:') as refusal:
        PretrainedWeightsHook(files=dict(checkpoint=name)).check()
    assert found in str(refusal.value)
    with pytest.raises(CheckpointError) as later:
        load_checkpoint(name)
    assert str(later.value) == str(refusal.value)


def test_a_package_without_its_file_is_named(monkeypatch):
    PretrainedWeightsHook(files=dict(checkpoint=NAME)).check()
    changed = dataclasses.replace(PACKAGED_WEIGHTS['efficientnet_lite0'], pattern='*.safetensors')
    monkeypatch.setitem(PACKAGED_WEIGHTS, 'efficientnet_lite0', changed)
    with pytest.raises(FileNotFoundError, match='holds 0 files'):
        PretrainedWeightsHook(files=dict(checkpoint=NAME)).check()
