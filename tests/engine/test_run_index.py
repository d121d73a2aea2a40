"""A run lists its images once; nothing that outlives a start knows of the list."""

import json

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from luss_mm.datasets import image_index
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.recipes.data_check import check_images_of
from luss_mm.recipes.dataset_facts import without_index

pytestmark = pytest.mark.usefixtures('mmseg_scope')


def dataset_of(split, masks='', **settings):
    prefix = dict(img_path=split, seg_map_path=masks)
    return dict(type='LUSSDataset', data_root='${data_root}', data_prefix=prefix, **settings)


def runner(data_root, work_dir):
    """Two stages of the same images; a hook of the first has a data set inside another."""
    relabelled = dict(
        type='RelabelledDataset',
        parts=[dataset_of('train')],
        data_prefix=dict(seg_map_path='${work_dir}/maps'),
    )
    first = dict(
        model=dict(type='PASSPretrainer'),
        train_dataloader=dict(batch_size=1, dataset=dataset_of('train')),
        custom_hooks=[dict(type='ClusterHook', source=dict(dataset=relabelled))],
    )
    second = dict(
        model=dict(type='LUSSSegmentor'),
        train_dataloader=dict(batch_size=1, dataset=dataset_of('train', '${work_dir}/maps')),
        val_dataloader=dict(
            batch_size=1, dataset=dataset_of('validation', 'validation-segmentation')
        ),
    )
    config = dict(
        work_dir=str(work_dir),
        stage_order=['first', 'second'],
        stages=dict(first=first, second=second),
        data_root=str(data_root),
        default_scope='mmseg',
    )
    return StagedRunner(Config(config))


def started(data_root, work_dir, monkeypatch, stages=lambda runner, name: None):
    """A runner whose stages do nothing, after its start."""
    for check in ('check_data', 'check_features', 'check_extremes'):
        monkeypatch.setattr(f'luss_mm.engine.staged_runner.{check}', lambda *_: None)
    monkeypatch.setattr(StagedRunner, '_check_images', lambda *_: None)
    monkeypatch.setattr(StagedRunner, '_run_stage', stages)
    monkeypatch.setattr(StagedRunner, 'closing_lines', lambda *_: [])
    found = runner(data_root, work_dir)
    found.train()
    return found.recipe


def test_all_data_sets_of_a_run_share_one_folder(data_root, tmp_path, monkeypatch):
    plain = runner(data_root, tmp_path / 'run').recipe
    recipe = started(data_root, tmp_path / 'run', monkeypatch)
    for name, count in (('first', 2), ('second', 2)):
        text = json.dumps(recipe.stage(name, 'd'), default=str)
        assert text.count(f'"image_index": "{tmp_path}/run/image_index"') == count
        assert recipe.settings_of(name) == plain.settings_of(name)
        assert recipe.stages_read_by(name) == plain.stages_read_by(name)
        assert recipe.stage_inputs(name) == plain.stage_inputs(name)
        expected = json.dumps(plain.stage(name, 'd'), default=str)
        assert json.dumps(without_index(recipe.stage(name, 'd')), default=str) == expected
    assert len(list((tmp_path / 'run/image_index').iterdir())) == 2  # train and validation


def test_images_are_listed_once_a_start(data_root, tmp_path, monkeypatch):
    listed = []
    scan = image_index.scan_images
    monkeypatch.setattr(
        image_index,
        'scan_images',
        lambda folder, *rest: listed.append(folder.name) or scan(folder, *rest),
    )
    for start in (1, 2):
        recipe = started(data_root, tmp_path / 'run', monkeypatch)
        recipe.stage_inputs('first'), recipe.stage_inputs('second')
        check_images_of(recipe, recipe.stage_order)
        datasets = [
            recipe.stage('second', 'd')[f'{x}_dataloader']['dataset'] for x in ('train', 'val')
        ]
        assert [len(DATASETS.build(dataset)) for dataset in datasets] == [6, 4]
        assert sorted(listed) == sorted(['train', 'validation'] * start)
