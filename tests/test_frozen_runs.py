"""A recipe with a frozen backbone from end to end, with its maps kept and without."""

import json

import numpy as np
import pytest
import torch

from luss_mm.costs.run_estimate import estimate_run
from luss_mm.datasets.cached_maps import CachedMaps, WithDeepMap
from luss_mm.inference.export import export_segmentor
from luss_mm.inference.feature_source import FeatureSource
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.inference.label_steps import find_label_steps
from luss_mm.inference.trained_segmentor import find_segmentor
from luss_mm.recipes.recipe import Recipe
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
    for suffix in ('ts', 'pt2', 'onnx'):
        export_segmentor(model, tmp_path / f'model.{suffix}')


def test_maps_change_embeddings_by_no_more_than_rounding(root, finished):
    without = run(root, root / 'images', cache_maps=False)
    assert not (without / 'feature_maps').exists()
    ours, theirs = (np.load(r / 'features/embeddings.npy') for r in (finished, without))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert not np.array_equal(ours, theirs)
    tuned = backbone_of(without / 'finetune/final.pth')
    attended = backbone_of(without / 'attention/final.pth')
    assert all(torch.equal(attended[name], tuned[name]) for name in attended)


def test_a_source_uses_maps_of_its_own_images_and_transforms_only(root, finished):
    config = tiny_config(root, finished)
    recipe = Recipe(config)
    hook = next(
        h for h in recipe.stage('finetune', 'x')['custom_hooks'] if h['type'] == 'FeatureMapsHook'
    )
    source = FeatureSource(**hook['source'])
    whole = source.dataset
    assert isinstance(source.batches(whole).dataset, WithDeepMap)
    pipeline = [*whole['pipeline'][:1], dict(type='KeepLoadedImage'), *whole['pipeline'][1:]]
    assert isinstance(source.batches(dict(whole, pipeline=pipeline)).dataset, WithDeepMap)
    smaller = [whole['pipeline'][0], dict(type='ResizeShortSide', side=32), whole['pipeline'][-1]]
    for other in (
        dict(whole, pipeline=smaller),
        dict(whole, data_prefix=dict(img_path='validation')),
    ):
        assert not isinstance(source.batches(other).dataset, WithDeepMap)
    rounded = FeatureSource(**hook['source'] | dict(precision='bfloat16'))
    exact = FeatureSource(**hook['source'] | dict(precision='float32'))
    used = [isinstance(s.batches(whole).dataset, WithDeepMap) for s in (rounded, exact)]
    assert sum(used) == 1


def test_another_backbone_than_that_of_the_maps_is_refused(root):
    other = torch.load(root / 'random.pth')
    other['state_dict']['backbone.layer4.0.conv1.weight'] *= 1.01
    torch.save(other, root / 'other.pth')
    options = {'stages.finetune.load_from': str(root / 'other.pth')}
    with pytest.raises(ValueError, match='backbone differs from that of .*attention/final.pth'):
        run(root, root / 'other', **options)


@pytest.mark.parametrize('cached', [True, False])
def test_the_estimate_counts_maps_once(root, finished, cached):
    recipe = Recipe(tiny_config(root, root / 'estimated', cache_maps=cached))
    costs = {cost.name: cost for cost in estimate_run(recipe, ['finetune']).costs}
    assert ('feature_maps' in costs) == cached
    if cached:
        maps = CachedMaps(finished / 'feature_maps')
        kept = sum(level.nbytes for index in range(24) for level in maps.maps(index))
        assert costs['feature_maps'].disk == pytest.approx(kept, rel=0.35)
