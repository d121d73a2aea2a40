"""Weights of an installed package, by the name `package:<name>`."""

import dataclasses

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from luss_mm import packaged_weights
from luss_mm.checkpoints.conversion import convert_checkpoint
from luss_mm.checkpoints.loading import CheckpointError, load_backbone, load_checkpoint
from luss_mm.engine.hooks import PretrainedWeightsHook
from luss_mm.packaged_weights import PACKAGED_WEIGHTS, checkpoint_file
from luss_mm.work_dir.artifact import fingerprint_file, hash_file

NAME = 'package:efficientnet_lite0'
MODEL = 'configs/_base_/models/efficientnet_lite0.py'


@pytest.fixture(scope='module')
def source():
    return checkpoint_file(NAME)


@pytest.fixture
def backbone(mmseg_scope):
    config = Config.fromfile(MODEL).backbone

    def build(**initial):
        return MODELS.build(dict(config, **initial)).eval()

    return build


def test_weights_and_their_order_are_those_of_the_file(source, backbone):
    """Both networks have their layers in the order of the computation, so no name is needed."""
    network = backbone()
    load_backbone(network, NAME)
    published = torch.load(source, weights_only=True)
    behind = ('_conv_head', '_bn1', '_fc')
    expected = [value for key, value in published.items() if not key.startswith(behind)]
    for (key, found), value in zip(network.state_dict().items(), expected, strict=True):
        assert torch.equal(found, value), key


def test_mmengine_loads_it_as_any_checkpoint(backbone):
    loaded, expected = backbone(init_cfg=dict(type='Pretrained', checkpoint=NAME)), backbone()
    loaded.init_cfg['prefix'] = 'backbone.'
    loaded.init_weights()
    load_backbone(expected, NAME)
    for key, value in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


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


def test_maps_have_the_channels_and_strides_that_the_config_says(backbone):
    with torch.no_grad():
        maps = backbone()(torch.rand(1, 3, 64, 96))
    assert [64 // features.shape[2] for features in maps] == [4, 8, 16, 16]
    assert [features.shape[1] for features in maps] == [24, 40, 112, 320]
    config = Config.fromfile(MODEL)
    assert config.feature_channels == 320 and config.shallow_channels == 112
    assert config.output_channels[:2] == [24, 40]


def test_every_weight_learns(backbone):
    network = backbone()
    sum(features.sum() for features in network(torch.rand(2, 3, 32, 32))).backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_the_fingerprint_is_that_of_the_file(source):
    assert fingerprint_file(NAME) == hash_file(source)


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
