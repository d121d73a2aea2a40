"""Every DSSN and supervised recipe resolves for every split and has its published numbers."""

import argparse
import copy
import functools
import math
from pathlib import Path

import pytest

from luss_mm.datasets.transforms import DistortColours
from luss_mm.models import DSSNSegmentor
from luss_mm.recipes.command_line import OptionAction
from luss_mm.recipes.settings import Settings
from tests.semi_recipes import NAMES, PAIRS, SETS, config_path, data_of
from tests.test_configs import (
    CONFIGS,
    IGNORE_KEYS,
    default_arguments,
    defaults,
    load_recipe,
    typed_blocks,
    values_of,
)

# mIoU val as the DSSN paper says, in the order of the splits.
PUBLISHED = dict(
    voc_resnet50='- - - - - 76.7 77.8 78.3 78.3',
    voc_resnet101='75.2 76.8 78.7 80.6 81.2 78.5 79.6 79.5 80.0',
    cityscapes_resnet50='75.4 77.3 78.1 78.7',
    cityscapes_resnet101='76.7 78.2 78.9 79.6',
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


def heading(name):
    return config_path(name).read_text().split('"""')[1]


def table(name, title):
    """Cells of a row of the table in a heading."""
    (row,) = [line for line in heading(name).splitlines() if line.startswith(f'{title} ')]
    return row.split()[1:]


def test_every_backbone_has_a_recipe_and_its_baseline():
    found = {path.stem for path in (CONFIGS / 'semi').glob('*.py')}
    assert {name for name in found if not name.startswith('pct_')} == set(NAMES)


@each_recipe
def test_heading_says_how_to_run(name):
    for word in ('Run ', 'Time ', 'Score ', 'Labels ', f'configs/semi/{name}.py'):
        assert word in heading(name)
    if not name.endswith('folder'):
        assert 'ours not measured' in heading(name) and 'Time    not measured' in heading(name)


@each_published
def test_published_scores_and_iterations(pair):
    images, splits = SETS[data_of(pair)]
    for name in (f'dssn_{pair}', f'supervised_{pair}'):
        assert table(name, 'split') == list(splits)
    if pair in PUBLISHED:
        assert table(f'dssn_{pair}', 'quoted') == PUBLISHED[pair].split()
    else:
        assert 'Score   none published' in heading(f'dssn_{pair}')
    batch, epochs = numbers(pair)['images'], numbers(pair)['epochs']
    iterations = [epochs * math.ceil((images - labelled) / batch) for labelled in splits.values()]
    assert [int(cell) for cell in table(f'supervised_{pair}', 'iterations')] == iterations
    settings = recipe_of(f'supervised_{pair}').settings.values
    assert settings['iterations'] == iterations[list(splits).index(settings['split'])]


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


def test_splits_may_be_given_as_folders_on_the_command_line():
    """mmengine's own action would read 1_8 as 18."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument('--cfg-options', nargs='+', action=OptionAction)
    options = arguments.parse_args(['--cfg-options', 'split=1_4', 'split_root=/lists']).cfg_options
    recipe = load_recipe(config_path('supervised_voc_resnet50'), **options)
    dataset = recipe.stage('supervised', 'work')['train_dataloader']['dataset']
    assert Path(dataset['image_list']) == Path('/lists/1_4/labeled.txt')
    assert 'split=1_8' in heading('supervised_voc_resnet50')


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
    assert head['type'] == 'DepthwiseSeparableASPPHead' and head['dilations'] == (1, 6, 12, 18)
    assert (head['in_channels'], head['c1_in_channels']) == (2048, 256)
    assert (head['channels'], head['c1_channels'], head['dropout_ratio']) == (256, 48, 0)
    assert not head['align_corners']
    assert head['num_classes'] == dict(voc=21, cityscapes=19, coco=81)[data_of(pair)]
    if 'resnet' in pair:
        assert f'resnet{backbone["depth"]}' in pair and backbone['type'] == 'ResNet'
        assert backbone['contract_dilation'] and backbone['dilations'] == (1, 1, 1, 2)
        assert backbone['strides'] == (1, 2, 2, 1)
    else:
        assert backbone['model_name'] == 'xception65' and backbone['output_stride'] == 16
    if data_of(pair) == 'cityscapes':
        assert head['sampler'] == dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100000)
        assert segmentor['test_cfg'] == dict(mode='slide', crop_size=(801, 801), stride=(534, 534))
    else:
        assert head.get('sampler') is None and segmentor['test_cfg'] == dict(mode='whole')


def test_published_defaults_of_the_code():
    """What the recipes leave to the classes."""
    model = default_arguments(DSSNSegmentor)
    assert (model['certain'], model['fraction']) == (0.92, 0.96)
    assert (model['unlabelled_weight'], model['alignment_weight']) == (0.25, 0.01)
    assert (model['total_weight'], model['dropout']) == (0.5, 0.5)
    assert model['momentum'] == pytest.approx(1 - 0.996)
    colours = defaults(DistortColours)
    assert (colours['jitter_prob'], colours['grey_prob'], colours['blur_prob']) == (0.8, 0.2, 0.5)


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
    colours, operations, box = views['strong1']
    assert colours == dict(type='DistortColours', jitter=(0.5, 0.5, 0.5, 0.25))
    assert operations == dict(type='RandomColourOperations', num=(1, 3))
    assert box == dict(type='DrawCutMixBox', prob=0.5)


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
def test_no_ignore_value_of_255(name):
    """Neither written nor left to a default of mmseg; files' own void value is another matter."""
    stage = training(name)
    for where, value in values_of(stage, IGNORE_KEYS):
        assert value == 1000, where
    for where, block, target in typed_blocks(stage):
        for key, default in default_arguments(target).items():
            if key in (*IGNORE_KEYS, 'pad_val'):
                assert '255' not in str(block.get(key, default)), f'{where}.{key}'


@each_recipe
def test_checkpoints_are_atomic_and_nothing_is_chosen_on_labels(name):
    stage = training(name)
    checkpoint = stage['default_hooks']['checkpoint']
    assert checkpoint['backend_args'] == dict(backend='atomic_local')
    assert checkpoint['max_keep_ckpts'] >= 2 and not checkpoint.get('save_best')
    labels = load_recipe(config_path(name)).labels_used(name.split('_')[0])
    assert labels == ['masks of the labelled images: training', 'validation masks: scoring']
    assert (
        load_recipe(config_path(name), evaluate=False).labels_used(name.split('_')[0]) == labels[:1]
    )
