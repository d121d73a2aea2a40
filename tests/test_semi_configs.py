"""Every DSSN and supervised recipe resolves for every split and has its published numbers."""

import copy
import functools

import pytest

from luss_mm.recipes.settings import Settings
from tests.semi_recipes import NAMES, PAIRS, SETS, config_path, data_of
from tests.test_configs import (
    load_recipe,
)

VOC = dict(lr=0.002, head=10, crop=513, epochs=100, images=8, selection='class_aware', start=0)
CITYSCAPES = dict(lr=0.005, head=1, crop=801, epochs=240, images=4, selection='all', start=5)
GPUS = 4

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


def numbers(pair):
    return CITYSCAPES if data_of(pair) == 'cityscapes' else VOC


@each_published
def test_split_is_one_setting(pair):
    for split in SETS[data_of(pair)][1]:
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


@each_published
def test_published_optimisation(pair):
    expected = numbers(pair)
    for method in ('dssn', 'supervised'):
        stage = training(f'{method}_{pair}')
        wrapper = stage['optim_wrapper']
        assert wrapper['optimizer'] == dict(
            type='SGD', lr=expected['lr'], momentum=0.9, weight_decay=1e-4
        )
        keys = wrapper['paramwise_cfg']['custom_keys']
        assert keys == dict(decode_head=dict(lr_mult=expected['head']))
        (schedule,) = stage['param_scheduler']
        assert (schedule['type'], schedule['power']) == ('PolyLR', 0.9)
        loop = stage['train_cfg']
        if method == 'dssn':
            assert loop['by_epoch'] and loop['max_epochs'] == expected['epochs']
            assert schedule['end'] == expected['epochs'] and schedule['convert_to_iter_based']
        else:
            assert schedule['end'] == loop['max_iters'] and not schedule['by_epoch']
    sampler = training(f'dssn_{pair}')['train_dataloader']['sampler']
    images = expected['images'] // GPUS
    assert sampler == dict(type='SemiSampler', labelled=images, unlabelled=images, partners=True)
    assert training(f'dssn_{pair}')['train_dataloader']['batch_size'] == 3 * images
    assert training(f'supervised_{pair}')['train_dataloader']['batch_size'] == images


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
