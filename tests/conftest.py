"""Fixtures of all tests: single threads, and a data set of a few files in the ImageNet-S layout."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')  # read when torch is imported

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

import luss_mm  # noqa: F401  registers everything
from tests.killable_tools import make_small_runs_quick
from tests.tiny_layout import write_image, write_label_map

torch.set_num_threads(1)
cv2.setNumThreads(1)
make_small_runs_quick()

CATEGORIES = ('ant', 'bee')
IDS = (0, 1, 2, 255, 256, 919, 1000)


def load_tool(name):
    """Module of a file in tools/."""
    path = Path(__file__).parents[1] / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call_tool(monkeypatch):
    """Runs a tool in this process: `call_tool('infer', run, images)`."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        load_tool(name).main()

    return call


def slow_but(quick, values):
    """Parameters of which only the named ones are tried in the quick tests."""
    return [v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in values]


def pytest_collection_modifyitems(items):
    """Whole runs lie beside this file and go first, so that no process ends long after another."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `-n`, all tests of a file run in one process: they share its finished runs."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture
def mmseg_scope():
    """As the runner sets it from `default_scope='mmseg'`; pipelines are built by its name."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def data_root(tmp_path):
    """Two categories; `train` has three images each and no masks, `validation` two each with masks.

    Images are 24 to 40 pixels high and wide; the masks hold every id of IDS.
    """
    root = tmp_path / 'data'
    rng = np.random.default_rng(0)
    for split, count in (('train', 3), ('validation', 2)):
        for category in CATEGORIES:
            for i in range(count):
                size = tuple(rng.integers(24, 41, 2))
                place = f'{category}/{split}_{category}_{i}'
                write_image(root / split / f'{place}.JPEG', rng.integers(0, 256, (*size, 3)))
                if split == 'validation':
                    labels = rng.choice(IDS, size)
                    labels.flat[: len(IDS)] = IDS
                    write_label_map(root / 'validation-segmentation' / f'{place}.png', labels)
    return root
