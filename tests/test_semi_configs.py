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


@each_published
def test_published_network(pair):
    model = training(f'dssn_{pair}')['model']
    assert model['selection'] == numbers(pair)['selection']
    assert model['strong_from_epoch'] == numbers(pair)['start']
    segmentor = model['segmentor']
    head, backbone = segmentor['decode_head'], segmentor['backbone']
    assert head['type'] == 'DeepLabV3PlusHead' and head['dilations'] == (1, 6, 12, 18)
    assert (head['in_channels'], head['shallow_in_channels']) == (2048, 256)
    assert (head['channels'], head['shallow_channels'], head['dropout_ratio']) == (256, 48, 0)
    assert head['align_corners'] and not {'shallow_kernel', 'aspp_dropout'} & set(head)
    assert model['strong_from_iteration'] == 1
    assert head['num_classes'] == dict(voc=21, cityscapes=19, coco=81)[data_of(pair)]
    if 'resnet' in pair:
        assert f'resnet{backbone["depth"]}' in pair
        assert (backbone['type'], backbone['stem_channels']) == ('ResNetV1c', 128)
        assert backbone['contract_dilation'] and backbone['dilations'] == (1, 1, 1, 2)
        assert backbone['strides'] == (1, 2, 2, 1)
    else:
        assert backbone['model_name'] == 'xception65' and backbone['output_stride'] == 16
    if data_of(pair) == 'cityscapes':
        assert head['loss_decode'] == dict(
            type='HardPixelCrossEntropy', ignore_label=1000, thres=0.7, min_kept=100000
        )
        baseline = training(f'supervised_{pair}')['model']
        assert segmentor['type'] == baseline['type'] == 'WindowSegmentor'
        assert model['max_argmax_pixels'] == 2048 * 1024
        assert segmentor['test_cfg'] == dict(mode='slide', crop_size=(801, 801), stride=(534, 534))
    else:
        assert head['loss_decode']['type'] == 'CrossEntropyLoss'
        assert segmentor['type'] == 'EncoderDecoder'
        assert segmentor['test_cfg'] == dict(mode='whole')


@each_published
def test_published_views(pair):
    crop = numbers(pair)['crop']
    semi = training(f'dssn_{pair}')['train_dataloader']['dataset']
    geometry = ['RandomResize', 'Pad', 'RandomCrop', 'RandomFlip']
    for part in ('labelled', 'unlabelled'):
        *_, resize, pad, cut, flip, pack = semi[part]['pipeline']
        assert [t['type'] for t in (resize, pad, cut, flip)] == geometry
        assert resize['ratio_range'] == (0.5, 2.0) and resize['keep_ratio']
        assert pad['size'] == cut['crop_size'] == (crop, crop)
        assert pad['pad_val'] == dict(img=0, seg=1000) and flip['prob'] == 0.5
    assert semi['unlabelled']['pipeline'][1]['type'] == 'MarkValidPixels'
    assert semi['labelled']['pipeline'][-1]['views'] == dict(labelled=[])
    views = pack['views']
    assert views['weak'] == [] and views['strong1'] == views['strong2']
    colours, *operations, box = views['strong1']
    assert colours == dict(type='DistortColours', jitter=(0.5, 0.5, 0.5, 0.25))
    pool = dict(type='RandomColourOperations', num=(1, 3), pool='dssn')
    assert operations == ([] if data_of(pair) == 'cityscapes' else [pool])
    assert box == dict(type='DrawCutMixBox', prob=0.5, shapes='uniform')


@pytest.mark.parametrize('name', ['dssn_folder', 'dssn_imagenet_s50_resnet50'])
def test_recipes_without_a_published_run_keep_their_own_draws(name):
    stage = training(name)
    colours, operations, box = stage['train_dataloader']['dataset']['unlabelled']['pipeline'][-1][
        'views'
    ]['strong1']
    assert operations == dict(type='RandomColourOperations', num=(1, 3))
    assert box == dict(type='DrawCutMixBox', prob=0.5)
    assert 'strong_from_iteration' not in stage['model']
    assert stage['model']['segmentor']['decode_head']['type'] == 'DepthwiseSeparableASPPHead'


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
