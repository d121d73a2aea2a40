"""Every recipe resolves, and knows no ignore value of 255."""

import functools
import inspect
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from luss_mm.recipes.config_check import _find
from luss_mm.recipes.config_check import typed_blocks as find_typed_blocks
from luss_mm.recipes.find_recipe import recipes
from luss_mm.recipes.recipe import Recipe

CONFIGS = Path(__file__).parents[1] / 'configs'
RECIPES = sorted((CONFIGS / 'luss').glob('*.py'))
ALL_RECIPES = sorted(recipes().values())
TRAINING_SETS = ('LUSSDataset', 'ImageNetSDataset', 'ClassLabelDataset')
IGNORE_KEYS = ('ignore_index', 'seg_pad_val', 'ignore_label', 'seg_fill_val')


def load_recipe(path, **options):
    config = Config.fromfile(path)
    config.merge_from_dict(options)
    config.setdefault('work_dir', 'work_dirs/test')
    return Recipe(config)


def trainings(recipe):
    """Resolved configs of the stages that train."""
    return {
        name: recipe.stage(name, f'work/{name}')
        for name in recipe.stage_order
        if recipe.task(name, 'work') is None
    }


def typed_blocks(stage):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return [(where, block, _find(block['type'])) for where, block in find_typed_blocks(stage)]


def default_arguments(target):
    """Defaults of a class, those of its bases where it passes **kwargs on to them."""
    found = {}
    for cls in getattr(target, '__mro__', ()):
        if '__init__' not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters
        found = {name: p.default for name, p in parameters.items()} | found
        if not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def values_of(value, keys, where=''):
    """(place, value) of every occurrence of the keys in a nested config."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys:
                yield f'{where}.{key}', inner
            yield from values_of(inner, keys, f'{where}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from values_of(inner, keys, f'{where}[{i}]')


@functools.cache
def default_trainings(path):
    """Resolved configs of a recipe as it is. No test may change them."""
    return trainings(load_recipe(path))


each_recipe = pytest.mark.parametrize('path', RECIPES, ids=lambda p: p.stem)
every_recipe = pytest.mark.parametrize('path', ALL_RECIPES, ids=lambda p: p.stem)


@each_recipe
@pytest.mark.parametrize(
    'options', [{}, dict(evaluate=False, amp='bfloat16', num_workers=0)], ids=str
)
def test_resolves(path, options):
    recipe = load_recipe(path, **options)
    for stage in trainings(recipe).values():
        assert '${' not in str(stage)
        assert stage['default_scope'] == 'mmseg'
        assert 'val_dataloader' in stage or stage.get('val_evaluator') is None
    assert recipe.stage_order[-1] == 'finetune'
    assert ('val_dataloader' in stage) == recipe.evaluate


@each_recipe
def test_each_of_these_is_one_setting(path):
    options = dict(data_root='/photographs', num_categories=7, seed=3, ignore_index=777)
    recipe = load_recipe(path, **options)
    for stage in trainings(recipe).values():
        assert {v for _, v in values_of(stage, ['data_root'])} == {'/photographs'}
        assert {v for _, v in values_of(stage, IGNORE_KEYS)} <= {777}
        assert stage['randomness'] == dict(seed=3)
        assert stage['train_dataloader']['dataset']['seed'] == 3
    assert stage['model']['decode_head']['num_classes'] == 8
    assert stage['val_evaluator']['num_clusters'] == 7
    assert {v for _, v in values_of(stage['custom_hooks'], ['num_clusters'])} == {7}


@every_recipe
def test_no_ignore_value_of_255(path):
    """255 is an ordinary category: neither written nor left to a default of mmseg."""
    for stage in default_trainings(path).values():
        for where, value in values_of(stage, IGNORE_KEYS):
            assert value == 1000, where
        for where, block, target in typed_blocks(stage):
            for key, default in default_arguments(target).items():
                if key in (*IGNORE_KEYS, 'pad_val'):
                    assert '255' not in str(block.get(key, default)), f'{where}.{key}'


@each_recipe
def test_training_loaders_show_the_epoch(path):
    for name, stage in default_trainings(path).items():
        loader = stage['train_dataloader']
        assert loader['sampler']['type'] == 'EpochSampler', name
        assert loader['dataset']['type'] in TRAINING_SETS, name
        assert loader['drop_last'], name
        hooks = {hook['type'] for hook in stage['default_hooks'].values()}
        assert {'EpochSeedHook', 'PreflightHook', 'DistSamplerSeedHook'} <= hooks


@every_recipe
def test_checkpoints_are_atomic_and_two(path):
    for stage in default_trainings(path).values():
        checkpoint = stage['default_hooks']['checkpoint']
        assert checkpoint['backend_args'] == dict(backend='atomic_local')
        assert checkpoint['max_keep_ckpts'] >= 2 and not checkpoint.get('save_best')


@each_recipe
def test_nothing_is_chosen_on_labels_by_default(path):
    for stage in default_trainings(path).values():
        hooks = {hook['type']: hook for hook in stage['custom_hooks']}
        if 'PseudoLabelHook' in hooks:
            # A number is each image's own threshold, see GatePooling.
            assert hooks['PseudoLabelHook']['foreground_threshold'] in ('otsu', 0.5)


def hook(stage, name):
    (found,) = [h for h in stage['custom_hooks'] if h['type'] == name]
    return found


@every_recipe
def test_only_imagenet_s_is_read_as_stored(path):
    """Its masks follow stored pixels; everything else is turned as people see it."""
    stages = default_trainings(path).values()
    blocks = [block for stage in stages for _, block in find_typed_blocks(stage)]
    official = any(block['type'] == 'ImageNetSDataset' for block in blocks)
    found = {b.get('stored_pixels', False) for b in blocks if b['type'] == 'LoadBoundedImage'}
    assert found == {official}
