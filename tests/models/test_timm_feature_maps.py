import sys

import pytest
import torch

from luss_mm.checkpoints.conversion import convert_checkpoint
from luss_mm.checkpoints.loading import load_checkpoint
from luss_mm.models import TIMMFeatureMaps
from tests.semi_recipes import TINY_XCEPTION, register_tiny_xception


def tiny(**arguments):
    pytest.importorskip('timm')
    register_tiny_xception()
    return TIMMFeatureMaps(TINY_XCEPTION, **arguments)


def test_equals_timms_own_feature_network():
    """Which finds the maps by hooks, and flattens the names of the weights."""
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    theirs = timm.create_model(
        'xception65', features_only=True, pretrained=False, output_stride=16, out_indices=(1, 4)
    ).eval()
    ours = TIMMFeatureMaps('xception65', output_stride=16).eval()
    renamed = {
        f'network.{key}'.replace('blocks_', 'blocks.').replace('stem_', 'stem.'): value
        for key, value in theirs.state_dict().items()
    }
    ours.load_state_dict(renamed)  # strict
    images = torch.rand(1, 3, 33, 49)
    with torch.no_grad():
        for found, expected in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert [feature.shape[1] for feature in ours(images)] == [256, 2048]


def test_unknown_names_and_maps_are_named():
    with pytest.raises(ValueError, match='has 5 feature maps'):
        tiny(out_indices=(1, 5))
    with pytest.raises(ValueError, match="no network 'xception6'"):
        TIMMFeatureMaps('xception6')


def test_without_timm_the_fix_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)  # as if it were not installed
    with pytest.raises(ModuleNotFoundError, match="'xception65' .* pip install timm"):
        TIMMFeatureMaps('xception65')


def test_timms_own_checkpoint_is_converted(tmp_path):
    timm = pytest.importorskip('timm')
    theirs = timm.create_model('xception65', pretrained=False)
    torch.save(theirs.state_dict(), tmp_path / 'source.pth')
    convert_checkpoint('timm-xception', tmp_path / 'source.pth', tmp_path / 'target.pth')
    state = load_checkpoint(tmp_path / 'target.pth')['state_dict']
    model = TIMMFeatureMaps('xception65')
    model.load_state_dict({key.removeprefix('backbone.'): v for key, v in state.items()})
    for key, value in theirs.state_dict().items():
        if not key.startswith('head.'):
            assert torch.equal(model.network.state_dict()[key], value), key
