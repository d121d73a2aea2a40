from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from luss_mm.engine.hooks import SelectionHook
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.recipes import trials
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from luss_mm.recipes.trials import check_extremes, extreme_images
from tests.engine.small_folder_recipe import recipe
from tests.tiny_layout import write_image

SIZES = [(40, 60), (60, 40), (50, 50), (20, 600), (600, 21), (9, 9), (45, 64)]  # height, width
UNPADDED = dict(type='CenterCrop', crop_size='${crop_size}')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('extremes')
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(SIZES):
        write_image(root / 'train' / f'{i}.png', rng.integers(0, 256, (height, width, 3)))
    return root


def folder_recipe(root, tmp_path, **settings):
    batches = dict(batch_size=4, finetune_batch_size=4, dff_batch_size=4, dff_f_batch_size=4)
    return recipe(tmp_path / 'run', data_root=str(root), **batches | settings)


def check(found):
    check_extremes(found, found.stage_order)


def test_the_widest_the_tallest_and_the_smallest(root, monkeypatch):
    dataset = DATASETS.build(dict(type='LUSSDataset', data_root=str(root)))
    assert extreme_images(dataset) == [3, 4, 5]
    monkeypatch.setattr(trials, 'MOST_SIZES', 2)  # the first and the last
    assert extreme_images(dataset) == [0, 6]


def test_every_stage_takes_a_panorama(root, tmp_path):
    found = folder_recipe(root, tmp_path)
    assert {'pretrain', 'attention', 'dff_f', 'dff_g', 'dff_h', 'finetune'} <= {*found.stage_order}
    check(found)
    check(folder_recipe(root, tmp_path, crop_size=64, use_dff=True, cache_maps=False))


def test_a_batch_that_does_not_form_is_told_before_the_first_stage(root, tmp_path):
    pipeline = ['${loading}', '${resizing}', UNPADDED, dict(type='PackImage')]
    found = folder_recipe(root, tmp_path, classifier_pipeline=pipeline)
    with pytest.raises(SettingsError, match=r'stages.dff_f.train_dataloader: .*3.png.*one batch'):
        check(found)


def test_a_transform_that_fails_is_told_with_the_image(root, tmp_path):
    pipeline = ['${loading}', dict(type='FlipCachedMaps', prob=1.0)]
    found = folder_recipe(root, tmp_path, classifier_pipeline=pipeline)
    with pytest.raises(SettingsError, match=r'dff_f.*3.png \(600 x 20 pixels\): '):
        check(found)


def test_batch_normalisation_needs_more_than_one_image():
    config = Config.fromfile('configs/semi/supervised_folder.py')
    config.merge_from_dict(dict(work_dir='/nowhere', labelled_batch=1, checkpoint=None))
    stage = Recipe(config).stage('supervised', '/nowhere/x')
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert 'too small for the batch norm' in trials._find_mistake_of_single(stage)
        stage['train_dataloader']['batch_size'] = 2
        assert trials._find_mistake_of_single(stage) is None


def test_one_category_is_none_for_classifiers():
    SelectionHook(num_categories=2).check()
    with pytest.raises(ValueError, match='num_categories=1 .* Set use_dff=False'):
        SelectionHook(num_categories=1).check()


@pytest.mark.parametrize(('images', 'batch'), [(70, 32), (20, 20), (1, 1), (0, 32)])
def test_a_batch_follows_the_images_that_are_left(images, batch):
    loader = dict(dataset={}, batch_size=32, drop_last=True, sampler=dict(type='EpochSampler'))
    runner = SimpleNamespace(recipe=SimpleNamespace(dataset_facts=lambda _: dict(images=images)))
    StagedRunner._fit_batch(runner, 'dff_g', loader)
    assert loader['batch_size'] == batch
