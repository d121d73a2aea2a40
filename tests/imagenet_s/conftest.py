"""A miniature ILSVRC 2012 that the package takes for the published one."""

import sys
from pathlib import Path

import pytest

from luss_mm.imagenet_s import lists as imagenet_s_lists
from luss_mm.imagenet_s import prepare as prepare_imagenet_s
from luss_mm.imagenet_s.lists import NUM_IMAGES
from tests.imagenet_s.miniature_ilsvrc import MERGED, WNIDS, build_miniature, write_zip

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.delitem(sys.modules, 'prepare_imagenet_s', raising=False)
    import prepare_imagenet_s as tool

    return tool.main


def use_miniature_as_published(monkeypatch, miniature):
    """The real code with the miniature's categories and numbers."""
    names = tuple((wnid, wnid) for wnid in miniature.wnids)
    for module in (imagenet_s_lists, prepare_imagenet_s):
        monkeypatch.setattr(module, 'imagenet_s_categories', lambda subset: names)
    merged = {s: t for s, t in MERGED.items() if t in miniature.wnids}
    monkeypatch.setattr(imagenet_s_lists, 'MERGED', merged)
    monkeypatch.setitem(NUM_IMAGES, miniature.subset, miniature.counts)


@pytest.fixture
def s50(tmp_path, monkeypatch):
    miniature = build_miniature(tmp_path / 'source', 50, WNIDS)
    use_miniature_as_published(monkeypatch, miniature)
    return miniature


@pytest.fixture
def archive(s50, tmp_path):
    contents = {f'ImageNetS50/{name}': path for name, path in s50.masks.items()}
    return write_zip(tmp_path / 'masks.zip', contents)
