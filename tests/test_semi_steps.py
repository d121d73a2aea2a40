"""Every DSSN and supervised recipe, with a tiny network, trains some steps and predicts."""

import functools
import json

import pytest
import torch
from mmseg.registry import MODELS

from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.recipes.recipe import Recipe
from tests.conftest import slow_but
from tests.semi_recipes import NAMES, load_finished, tiny_config

QUICK = ('dssn_coco_xception65', 'supervised_cityscapes_resnet50')


@functools.cache
def run(name):
    """Finished stage of a tiny run."""
    if 'xception' in name:
        pytest.importorskip('timm')
    method = name.split('_')[0]
    steps = dict(epochs=1, strong_from_epoch=0) if method == 'dssn' else dict(iterations=2)
    runner = StagedRunner(tiny_config(name, **steps))
    runner.train()
    return runner.work_dir / method


@pytest.mark.parametrize('name', slow_but(QUICK, NAMES))
def test_trains_a_step_and_predicts(name):
    method, stage = name.split('_')[0], run(name)
    scores = json.loads((stage / 'metrics.json').read_text())
    assert scores['iter'] == 2  # for DSSN a pass over 4 images, 2 a step
    prefixes = ('student/', 'teacher/') if method == 'dssn' else ('',)
    for prefix in prefixes:
        assert 0 <= scores['metrics'][f'{prefix}mIoU'] <= 100
    _, model, batch = load_finished(stage)
    with torch.no_grad():
        (predicted,) = model.test_step(batch)
    names = ('pred_student', 'pred_teacher') if method == 'dssn' else ('pred_sem_seg',)
    for key in names:
        labels = predicted.get(key).data
        assert labels.shape == (1, 40, 52)
        assert labels.max() < network_of(model).num_classes


def network_of(model):
    return getattr(model, 'student', model)


@pytest.mark.parametrize('name', ['dssn_folder', 'supervised_folder', 'dssn_coco_xception65'])
def test_starts_from_the_pretrained_backbone(name, mmseg_scope):
    if 'xception' in name:
        pytest.importorskip('timm')
    config = tiny_config(name)
    recipe = Recipe(config)
    model = MODELS.build(recipe.stage(recipe.stage_order[0], 'work')['model'])
    model.init_weights()
    given = torch.load(config.checkpoint, weights_only=True)['state_dict']
    state = network_of(model).backbone.state_dict()
    assert {f'backbone.{key}' for key in state} == given.keys()
    for key, value in state.items():
        assert torch.equal(value, given[f'backbone.{key}']), key
