"""Every recipe of Learning Pseudo Labels resolves, and trains a step of each stage."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS

from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.inference import LUSSInferencer
from tests.conftest import slow_but
from tests.semi_recipes import load_finished, shallow_name, tiny_data, write_weights
from tests.small_pct import SIZE, tiny_folders
from tests.test_configs import (
    CONFIGS,
    load_recipe,
    trainings,
    values_of,
)

RECIPES = sorted(p for p in (CONFIGS / 'semi').glob('pct_*.py') if p.stem != 'pct_photos')
CLASSES = dict(voc=21, coco=81, imagenet_s50=51, folder=51)
each_recipe = pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
QUICK = [CONFIGS / f'semi/pct_{name}.py' for name in ('folder', 'voc_xception65')]
trained = pytest.mark.parametrize('path', slow_but(QUICK, RECIPES), ids=lambda path: path.stem)


def data_of(path):
    return next(name for name in CLASSES if path.stem.startswith(f'pct_{name}'))


@functools.cache
def stages_of(path):
    return trainings(load_recipe(path))


@each_recipe
def test_the_same_network_is_retrained(path):
    pct, retrain = stages_of(path).values()
    for part in ('backbone', 'decode_head'):
        assert pct['model']['segmentor'][part] == retrain['model'][part]
    assert retrain['model']['decode_head']['num_classes'] == CLASSES[data_of(path)]


def test_tests_at_several_scales_are_mmsegs_own_and_no_part_of_the_training():
    path = CONFIGS / 'semi/pct_voc_resnet101.py'
    recipes = [load_recipe(path, dense_crf=dense_crf) for dense_crf in (False, True)]
    stage = trainings(recipes[1])['retrain']
    assert stage['tta_model'] == dict(type='LUSSTTAModel', average='logits', dense_crf=True)
    resized, flipped, *rest = stage['tta_pipeline'][-1]['transforms']
    assert [t['scale_factor'] for t in resized] == [0.5, 0.75, 1.0, 1.25, 1.5]
    assert [t['prob'] for t in flipped] == [0, 1]
    whole = stage['val_dataloader']['dataset']['pipeline']
    assert [stage['tta_pipeline'][0], *(t for (t,) in rest)] == whole
    settings = [recipe.settings_of('retrain') for recipe in recipes]
    assert settings[0] == settings[1] and not settings[0].keys() & {'tta_model', 'tta_pipeline'}


@each_recipe
def test_the_folder_is_one_setting(path):
    for stage in trainings(load_recipe(path, data_root='/images')).values():
        assert {v for _, v in values_of(stage, ['data_root'])} == {'/images'}


# --- a step of each stage -------------------------------------------------------------------------

TINY = {
    'crop_size': 32,
    'labelled_batch': 2,
    'tagged_batch': 2,
    'iterations': 1,
    'retrain_iterations': 1,
    'retrain_batch_size': 2,
    'label_scales': (0.5, 1.0),
    'label_batch_size': 2,
    'checkpoint_interval': 1,
    'head_channels': 8,
    'num_workers': 0,
    'amp': False,
}
TINY_NETWORKS = dict(
    resnet={
        'backbone.base_channels': 2,
        'backbone.stem_channels': 2,
        'feature_channels': 64,
        'shallow_channels': 8,
    },
    folder={
        'backbone.base_channels': 2,
        'backbone.stem_channels': 2,
        'feature_channels': 16,
        'shallow_channels': 2,
    },
    xception={
        'backbone.model_name': 'test_resnet',
        'feature_channels': 96,
        'shallow_channels': 32,
    },
)
_directory = tempfile.TemporaryDirectory()
ROOT = Path(_directory.name)


def tiny_config(path, **options):
    data = tiny_data(data_of(path)) if data_of(path) in ('voc', 'coco') else tiny_folders(ROOT)
    if path.stem == 'pct_folder':
        data = data | dict(num_categories=2)
    network = next(value for kind, value in TINY_NETWORKS.items() if kind in path.stem)
    config = Config.fromfile(path)
    config.merge_from_dict({f'decode_head.{shallow_name(config)}': 4})
    config.merge_from_dict(TINY | network | data | options)
    checkpoint, work_dir = str(ROOT / f'{path.stem}.pth'), str(ROOT / path.stem)
    config.merge_from_dict(dict(checkpoint=checkpoint, work_dir=work_dir, launcher='none'))
    return config


@functools.cache
def run(path):
    """Work directory of a finished tiny run, from random pretrained weights."""
    runner = StagedRunner(tiny_config(path))
    stage = runner.recipe.stage('retrain', 'stage')
    write_weights(stage['model']['backbone'], ROOT / f'{path.stem}.pth')
    runner.train()
    return runner.work_dir


@trained
def test_trains_a_step_of_each_stage(path):
    work_dir = run(path)
    scores = json.loads((work_dir / 'pct' / 'metrics.json').read_text())
    assert scores['iter'] == 1
    assert {'hybrid/mIoU', 'pseudo/mIoU'} <= scores['metrics'].keys()
    scores = json.loads((work_dir / 'retrain' / 'metrics.json').read_text())
    assert 0 <= scores['metrics']['mIoU'] <= 100
    labels = [path for path in (work_dir / 'tagged_labels').rglob('*.png')]
    assert len(labels) == (7 if data_of(path) in ('voc', 'coco') else 4)


@trained
def test_finished_stages_work_by_themselves(path):
    """Both predict at the size of the file; H and P nothing but tags, unless told otherwise."""
    for name in ('pct', 'retrain'):
        config, model, batch = load_finished(run(path) / name)
        with torch.no_grad():
            (predicted,) = model.test_step(batch)
        assert predicted.pred_sem_seg.data.shape == (1, *SIZE)
        if name == 'retrain':  # needs no tags
            image = np.zeros((30, 40, 3), np.uint8)
            (labels,) = LUSSInferencer(run(path) / name, device='cpu')(image)['predictions']
            assert labels.shape == (30, 40)
            # As mmseg's `tools/test.py --tta` does.
            views = config.val_dataloader.dataset | dict(pipeline=config.tta_pipeline)
            with DefaultScope.overwrite_default_scope('mmseg'):
                tested = MODELS.build(config.tta_model | dict(module=model)).eval()
                batch = pseudo_collate([DATASETS.build(views)[0]])
            assert len(batch['inputs']) == (10 if data_of(path) in ('voc', 'coco') else 2)
            with torch.no_grad():
                (merged,) = tested.test_step(batch)
            assert merged.pred_sem_seg.data.shape == (1, *SIZE)
            assert merged.gt_sem_seg.data.shape == (1, *SIZE)
        if name == 'pct':
            assert predicted.pred_sem_seg.data.equal(predicted.pred_hybrid.data)
            for field in ('pred_hybrid', 'pred_pseudo'):
                shown = set(predicted.get(field).data.unique().tolist())
                assert shown <= set(predicted.image_tags)


def test_networks_can_be_scored_without_tags(tmp_path):
    """As `tools/test.py STAGE/config.py STAGE/final.pth` with model.restrict_to_tags=False."""
    stage = run(CONFIGS / 'semi/pct_folder.py') / 'pct'
    config = Config.fromfile(stage / 'config.py')
    config.merge_from_dict({'model.restrict_to_tags': False, 'load_from': str(stage / 'final.pth')})
    config.merge_from_dict({'visualizer.name': 'untagged', 'work_dir': str(tmp_path)})
    config.experiment_name = 'untagged'  # else logger and visualizer are those of the training
    scores = Runner.from_cfg(config).test()
    assert {'hybrid/mIoU', 'pseudo/mIoU'} <= scores.keys()
