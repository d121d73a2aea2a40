"""Every semi-supervised recipe resolves, trains a step and predicts."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from luss_mm.engine.receptive_fields import ReceptiveFieldHook
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.recipes.settings import SettingsError
from tests.conftest import slow_but
from tests.engine.tiny_training import Killed
from tests.semi_recipes import load_finished, write_weights
from tests.test_configs import (
    CONFIGS,
    load_recipe,
    trainings,
    values_of,
)
from tests.tiny_layout import write_image, write_label_map

FOLDER = 'semi_folder'  # for any folder
RECIPES = sorted(p for p in (CONFIGS / 'imagenet_s').glob('*.py') if p.stem != FOLDER)
each_recipe = pytest.mark.parametrize('name', [path.stem for path in RECIPES])


def config_path(name):
    return CONFIGS / 'imagenet_s' / f'{name}.py'


@functools.cache
def finetuning(name):
    """Resolved config of the training of a recipe."""
    return trainings(load_recipe(config_path(name)))['finetune']


@each_recipe
def test_the_folder_is_one_setting(name):
    stage = trainings(load_recipe(config_path(name), data_root='/images'))['finetune']
    # Either resumes without replaying what was drawn before.
    expected = 'IterationSampler' if name.endswith('_3600') else 'EpochSampler'
    assert stage['train_dataloader']['sampler']['type'] == expected
    assert {v for _, v in values_of(stage, ['data_root'])} == {'/images'}


# --- one training step and one prediction of each -------------------------------------------------

TINY = dict(num_categories=50, crop_size=32, resize_side=32, batch_size=2, num_workers=0, amp=False)
TINY_NETWORKS = dict(
    vit={
        'backbone.arch': dict(
            _delete_=True, embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8
        ),
        'feature_channels': 8,
    },
    convnext={
        'backbone.arch': dict(_delete_=True, depths=[1, 1, 1, 1], channels=[4, 4, 4, 4]),
        'feature_channels': 4,
    },
    resnet={'backbone.base_channels': 2, 'backbone.stem_channels': 2, 'feature_channels': 64},
)
QUICK = ('mae_vit_base_ssl_3600', 'pass_resnet50_d16', 'rf_convnext_tiny_merge')
_directory = tempfile.TemporaryDirectory()
ROOT = Path(_directory.name)


@functools.cache
def tiny_data():
    """Two images and masks of train-semi and one of validation, with ignored pixels."""
    rng = np.random.default_rng(0)
    for split, count in (('train-semi', 2), ('validation', 1)):
        for i in range(count):
            write_image(ROOT / 'data' / split / f'n/{i}.JPEG', rng.integers(0, 256, (40, 52, 3)))
            labels = rng.choice([0, 1, 7, 50, 1000], (40, 52))
            write_label_map(ROOT / 'data' / f'{split}-segmentation' / f'n/{i}.png', labels)
    return ROOT / 'data'


def tiny_options(name):
    options = TINY | next(v for kind, v in TINY_NETWORKS.items() if kind in name)
    options |= dict(data_root=str(tiny_data()), checkpoint_interval=1)
    if name.endswith('_3600'):
        options |= dict(iterations=2, warmup_iterations=1)
    else:
        options |= dict(epochs=2, warmup_epochs=1)
    if name.endswith('_search'):
        options |= dict(search_interval=1, search_steps=1)
    if name.endswith(('_single', '_multiple')):
        options |= dict(search=str(run('rf_convnext_tiny_search') / 'finetune'))
    if name.endswith('_merge'):
        return options | dict(multiple=str(run('rf_convnext_tiny_multiple') / 'finetune'))
    return options | dict(checkpoint=str(ROOT / f'{name}.pth'))


def tiny_config(name):
    config = Config.fromfile(config_path(name))
    config.merge_from_dict(tiny_options(name) | dict(work_dir=str(ROOT / name), launcher='none'))
    return config


@functools.cache
def run(name):
    """Work directory of a finished tiny run, from random pretrained weights."""
    runner = StagedRunner(tiny_config(name))
    stage = runner.recipe.stage('finetune', 'stage')
    if not name.endswith('_merge'):
        write_weights(stage['model']['backbone'], ROOT / f'{name}.pth')
    runner.train()
    return runner.work_dir


@pytest.mark.parametrize('name', slow_but(QUICK, [path.stem for path in RECIPES]))
def test_trains_a_step_and_predicts(name):
    stage = run(name) / 'finetune'
    scores = json.loads((stage / 'metrics.json').read_text())
    assert scores['iter'] == 2 and 0 <= scores['metrics']['mIoU'] <= 100
    labels = json.loads((stage / 'manifest.json').read_text())['used_ground_truth']
    assert labels == ['train-semi masks: training', 'validation masks: scoring']
    _, model, sample = load_finished(stage)
    with torch.no_grad():
        (predicted,) = model.test_step(sample)
    assert predicted.pred_sem_seg.data.shape == (1, 40, 52)
    assert predicted.pred_sem_seg.data.max() <= 50


def test_search_is_followed_by_single_multiple_and_merge():
    found = json.loads(
        (run('rf_convnext_tiny_search') / 'finetune/receptive_fields.json').read_text()
    )
    assert all(pair == [2, 2] for pair in found.values()) and len(found) == 4
    for mode in ('single', 'multiple', 'merge'):
        _, model, _ = load_finished(run(f'rf_convnext_tiny_{mode}') / 'finetune')
        assert set(model.dilations().values()) == {(2, 2)}, mode
    conv = model.backbone.stages[0][0].depthwise_conv
    assert conv.kernel_size == (19, 19)  # 7 taps at dilations up to 3


def kill_after_two_epochs(hook, runner):
    if runner.epoch == 2:
        raise Killed


def test_interrupted_search_ends_as_an_uninterrupted_one(monkeypatch):
    """Dilations come back with the weights: epoch 3 is trained with those that epoch 2 found."""
    run('rf_convnext_tiny_search')  # writes the pretrained weights
    final = {}
    for name in ('whole', 'killed'):
        config = tiny_config('rf_convnext_tiny_search')
        config.merge_from_dict(dict(epochs=3, search_steps=2, work_dir=str(ROOT / name)))
        if name == 'killed':
            with monkeypatch.context() as patch, pytest.raises(Killed):
                patch.setattr(ReceptiveFieldHook, 'before_train_epoch', kill_after_two_epochs)
                StagedRunner(config).train()
        StagedRunner(config).train()
        stage = ROOT / name / 'finetune'
        final[name] = torch.load(stage / 'final.pth', weights_only=False)['state_dict']
        final[name]['structure'] = (stage / 'receptive_fields.json').read_text()
    dilations = [v.tolist() for k, v in final['whole'].items() if k.endswith('.dilation')]
    assert dilations == [[2, 2]] * 4
    structures = [weights.pop('structure') for weights in final.values()]
    assert structures[0] == structures[1]
    for key, value in final['whole'].items():
        assert torch.equal(value, final['killed'][key]), key


def test_missing_weights_are_named_before_training():
    config = tiny_config('convnext_tiny')
    config.merge_from_dict(dict(checkpoint='nowhere.pth', work_dir=str(ROOT / 'missing')))
    with pytest.raises(SettingsError, match=r'nowhere.pth: no such file. Set checkpoint'):
        StagedRunner(config).train()
