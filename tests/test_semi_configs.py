"""Every DSSN and supervised recipe resolves for every split."""

import copy
import functools

import pytest

from luss_mm.recipes.settings import Settings
from tests.semi_recipes import NAMES, PAIRS, config_path
from tests.test_configs import (
    load_recipe,
)

each_recipe = pytest.mark.parametrize('name', NAMES)
each_pair = pytest.mark.parametrize('pair', PAIRS)
each_published = pytest.mark.parametrize('pair', PAIRS[:-2])


@functools.cache
def recipe_of(name):
    """A recipe, whose settings may be changed."""
    recipe = load_recipe(config_path(name))
    assert recipe.stage_order == [name.split('_')[0]]
    return recipe


@functools.cache
def training(name):
    """Resolved config of a recipe's only stage."""
    (stage,) = recipe_of(name).stage_order
    return recipe_of(name).stage(stage, f'work/{stage}')


def lists_of(name, **settings):
    """The same with other settings, but only its data sets: training, then validation."""
    recipe = copy.copy(recipe_of(name))
    recipe.settings = Settings(recipe.settings.values | settings)
    stage = recipe.stage(recipe.stage_order[0], 'work')
    return stage['train_dataloader']['dataset'], stage['val_dataloader']['dataset']


@each_published
def test_split_is_one_setting(pair):
    split = '1_32'
    settings = dict(split=split, split_root='/lists', data_root='/images')
    semi, validation = lists_of(f'dssn_{pair}', **settings)
    assert semi['labelled']['image_list'] == f'/lists/{split}/labeled.txt'
    assert semi['unlabelled']['image_list'] == f'/lists/{split}/unlabeled.txt'
    assert not semi['unlabelled']['masks'] and semi['unlabelled']['tags'] is None
    assert validation['image_list'] == '/lists/val.txt'
    alone, same_validation = lists_of(f'supervised_{pair}', **settings)
    assert alone['image_list'] == f'/lists/{split}/labeled.txt' and alone.get('masks', True)
    assert same_validation == validation
    for dataset in (*semi.values(), alone, validation):
        assert isinstance(dataset, str) or dataset['data_root'] == '/images'


def test_the_best_pass_of_student_or_teacher_is_an_option_and_said():
    options = dict(validation_interval=1, save_best='teacher/mIoU')
    recipe = load_recipe(config_path('dssn_voc_resnet101'), **options)
    stage = recipe.stage('dssn', 'work')
    assert stage['train_cfg']['val_interval'] == 1
    checkpoint = stage['default_hooks']['checkpoint']
    assert (checkpoint['save_best'], checkpoint['rule']) == ('teacher/mIoU', 'greater')
    assert recipe.labels_used('dssn') == [
        'masks of the labelled images: training',
        'validation masks: scoring and choosing the best checkpoint',
    ]


@each_pair
def test_baseline_differs_in_nothing_but_the_unlabelled_images(pair):
    dssn, supervised = training(f'dssn_{pair}'), training(f'supervised_{pair}')
    for key in ('backbone', 'decode_head', 'test_cfg'):
        assert supervised['model'][key] == dssn['model']['segmentor'][key]
    for key in ('optim_wrapper', 'val_dataloader', 'randomness'):
        assert supervised[key] == dssn[key]
    alone = dict(supervised['train_dataloader']['dataset'])
    labelled = dict(dssn['train_dataloader']['dataset']['labelled'])
    ours, theirs = alone.pop('pipeline'), labelled.pop('pipeline')
    assert alone == labelled and ours[:-1] == theirs[:-1]
    inner = [metric['metric'] for metric in dssn['val_evaluator']]
    assert inner == [supervised['val_evaluator']] * 2
    predictions = [(m['prediction'], m['prefix']) for m in dssn['val_evaluator']]
    assert predictions == [('pred_student', 'student'), ('pred_teacher', 'teacher')]


@each_recipe
def test_labels_used(name):
    labels = load_recipe(config_path(name)).labels_used(name.split('_')[0])
    assert labels == ['masks of the labelled images: training', 'validation masks: scoring']
    assert (
        load_recipe(config_path(name), evaluate=False).labels_used(name.split('_')[0]) == labels[:1]
    )
