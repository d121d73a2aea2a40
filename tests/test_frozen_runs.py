"""A recipe with a frozen backbone from end to end, with its maps kept and without."""

import json
import shutil

import numpy as np
import pytest
import torch

from luss_mm.datasets.cached_maps import CachedMaps
from luss_mm.engine.feature_source import FeatureSource
from luss_mm.engine.label_steps import find_label_steps
from tests.frozen_recipe import run, tiny_config, write_inputs
from tests.test_backbones import backbone_of
from tests.test_backbones import nothing_beside as nothing_beside


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('frozen')
    write_inputs(root)
    return root


@pytest.fixture(scope='module')
def finished(root):
    """A run with cached maps. No test may change it."""
    return run(root, root / 'cached')


def test_the_backbone_stays_and_the_head_is_trained_on_its_maps(root, finished):
    scores = json.loads((finished / 'finetune/scores.json').read_text())['metrics']
    assert 0 <= scores['mIoU'] <= 100
    attended, tuned = (backbone_of(finished / s / 'final.pth') for s in ('attention', 'finetune'))
    assert attended.keys() == tuned.keys()
    assert all(torch.equal(attended[name], tuned[name]) for name in attended)
    maps = CachedMaps(finished / 'feature_maps')
    assert len(maps) == 24
    assert [m.shape[0] for m in maps.maps(0)] == [16, 32, 64]
    assert len({maps.input_size(i) for i in range(24)}) == 2
