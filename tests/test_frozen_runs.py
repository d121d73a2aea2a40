"""A recipe with a frozen backbone from end to end, with its maps kept and without."""

import json

import pytest
import torch

from luss_mm.datasets.cached_maps import CachedMaps
from luss_mm.inference.export import export_segmentor
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.inference.label_steps import find_label_steps
from luss_mm.inference.trained_segmentor import find_segmentor
from tests.frozen_recipe import run, write_inputs
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
    scores = json.loads((finished / 'finetune/metrics.json').read_text())['metrics']
    assert 0 <= scores['mIoU'] <= 100
    attended, tuned = (backbone_of(finished / s / 'final.pth') for s in ('attention', 'finetune'))
    assert attended.keys() == tuned.keys()
    assert all(torch.equal(attended[name], tuned[name]) for name in attended)
    maps = CachedMaps(finished / 'feature_maps')
    assert len(maps) == 24
    assert [m.shape[0] for m in maps.maps(0)] == [16, 32, 64]
    assert len({maps.input_size(i) for i in range(24)}) == 2


def test_a_finished_run_labels_and_predicts_other_images(finished, tmp_path, monkeypatch):
    step = find_label_steps(finished)[-1]
    lines = []
    monkeypatch.setattr(
        'luss_mm.inference.feature_source.print_log', lambda text, *_: lines.append(text)
    )
    labels = step.label_split('validation', tmp_path / 'validation')
    assert len(list(labels.rglob('*.png'))) == 7
    assert len(lines) == 2 and 'holds no maps of these images' in lines[0]
    lines.clear()
    labels = step.label_split('train', tmp_path / 'train')
    ours = {p.name: p.read_bytes() for p in labels.rglob('*.png')}
    assert not lines
    assert ours == {p.name: p.read_bytes() for p in (finished / 'pseudo_labels').rglob('*.png')}
    image = next((finished.parent / 'data/validation').rglob('*.JPEG'))
    (predicted,) = LUSSInferencer(finished, device='cpu')([str(image)])['predictions']
    assert predicted.shape == (64, 64)
    model = find_segmentor(finished).build()
    export_segmentor(model, tmp_path / 'model.ts')


def test_another_backbone_than_that_of_the_maps_is_refused(root):
    other = torch.load(root / 'random.pth')
    other['state_dict']['backbone.layer4.0.conv1.weight'] *= 1.01
    torch.save(other, root / 'other.pth')
    options = {'stages.finetune.load_from': str(root / 'other.pth')}
    with pytest.raises(ValueError, match='backbone differs from that of .*attention/final.pth'):
        run(root, root / 'other', **options)
