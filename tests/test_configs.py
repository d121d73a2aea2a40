"""Every recipe resolves, knows no ignore value of 255, and has its published numbers."""

import functools
import inspect
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from luss_mm.models import LUSSSegmentor
from luss_mm.recipes.config_check import _find
from luss_mm.recipes.config_check import typed_blocks as find_typed_blocks
from luss_mm.recipes.recipe import Recipe

CONFIGS = Path(__file__).parents[1] / 'configs'
RECIPES = sorted((CONFIGS / 'luss').glob('*.py'))
ALL_RECIPES = sorted(
    path
    for folder in ('luss', 'imagenet_s', 'pretraining', 'semi')
    for path in (CONFIGS / folder).glob('*.py')
)
TRAINING_SETS = ('LUSSDataset', 'ImageNetSDataset', 'ClassLabelDataset')
IGNORE_KEYS = ('ignore_index', 'seg_pad_val', 'ignore_label', 'seg_fill_val')
# methods of PASS, section by section: the paper and its repository.
S50 = dict(
    depth=18,
    num_categories=50,
    feature_channels=512,
    hidden_channels=512,
    num_prototypes=500,
    views=[(2, 224, (0.14, 1.0)), (6, 96, (0.05, 0.14))],
    queue_length=2048,
    frozen_iters=1001,
    pretrain_epochs=200,
    attention_lr=6.0,
)
S300 = dict(
    depth=50,
    num_categories=300,
    feature_channels=2048,
    hidden_channels=2048,
    num_prototypes=3000,
    views=[(2, 224, (0.08, 1.0))],
    queue_length=3840,
    frozen_iters=5005,
    pretrain_epochs=100,
    attention_lr=0.6,
)
PUBLISHED = dict(pass_s50=S50, pass_s300=S300, pass_s919=S300 | dict(num_categories=919))


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
    'options', [{}, dict(evaluate=False), dict(amp='bfloat16', num_workers=0)], ids=str
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
def test_one_command_sets_folder_and_categories(path):
    recipe = load_recipe(path, data_root='/photographs', num_categories=7, seed=3)
    for stage in trainings(recipe).values():
        assert {v for _, v in values_of(stage, ['data_root'])} == {'/photographs'}
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
def test_ignore_index_is_one_setting(path):
    for stage in trainings(load_recipe(path, ignore_index=777)).values():
        assert {v for _, v in values_of(stage, IGNORE_KEYS)} <= {777}


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


@pytest.fixture(params=list(PUBLISHED))
def published(request):
    """Resolved trainings of a recipe and its published numbers."""
    path = CONFIGS / 'luss' / f'{request.param}.py'
    if not path.is_file():
        pytest.skip(f'{path.name} is not there')
    return default_trainings(path), PUBLISHED[request.param]


def groups(stage):
    pipeline = stage['train_dataloader']['dataset']['pipeline']
    (crop,) = [t for t in pipeline if t['type'] == 'MultiCrop']
    assert set(crop) == {'type', 'views', 'colours_on_device'}  # the rest is SwAV's by default
    assert crop['colours_on_device'] is False
    return [(v['num'], v['size'], tuple(v['scale'])) for v in crop['views']]


def hook(stage, name):
    (found,) = [h for h in stage['custom_hooks'] if h['type'] == name]
    return found


def defaults(function):
    return {n: p.default for n, p in inspect.signature(function).parameters.items()}


def check_optimizer(stage, lr, epochs, min_lr=0.0006):
    optimizer = stage['optim_wrapper']['optimizer']
    assert optimizer == dict(type='LARS', lr=lr, momentum=0.9, weight_decay=1e-6)
    assert 'clip_grad' not in stage['optim_wrapper']
    assert stage['train_cfg']['max_epochs'] == epochs
    (schedule,) = stage['param_scheduler']
    assert schedule['type'] == 'CosineAnnealingLR' and schedule['eta_min'] == min_lr
    assert schedule['T_max'] == epochs and schedule['convert_to_iter_based']


def test_published_pretraining(published):
    stages, numbers = published
    stage = stages['pretrain']
    model = stage['model']
    assert model['backbone']['type'] == 'ResNet' and model['backbone']['style'] == 'pytorch'
    assert model['backbone']['depth'] == numbers['depth']
    assert groups(stage) == numbers['views']
    assert model['head'] == dict(
        type='PrototypeHead',
        in_channels=numbers['feature_channels'],
        hidden_channels=numbers['hidden_channels'],
        embedding_channels=128,
        num_prototypes=numbers['num_prototypes'],
    )
    assert model['queue_length'] == numbers['queue_length']
    assert [head['in_index'] for head in model['deep_to_shallow']] == [2]  # stage 3
    assert model['deep_to_shallow'][0]['in_channels'] == numbers['feature_channels'] // 2
    assert model['pixel_to_pixel'] == dict(
        type='PixelToPixelHead',
        in_channels=numbers['feature_channels'],
        hidden_channels=numbers['hidden_channels'],
        embedding_channels=128,
        placement='edge',
    )
    assert hook(stage, 'FeatureQueueHook')['start_epoch'] == 15
    assert hook(stage, 'PrototypesHook')['frozen_iters'] == numbers['frozen_iters']
    assert stage['train_dataloader']['batch_size'] == 32
    check_optimizer(stage, 0.6, numbers['pretrain_epochs'])
    assert stage['optim_wrapper']['type'] == 'AmpOptimWrapper'


def test_published_attention(published):
    stages, numbers = published
    stage = stages['attention']
    assert groups(stage) == [(2, 224, (0.08, 1.0))]
    assert stage['model']['head'] == stages['pretrain']['model']['head']
    assert stage['model']['queue_length'] == 3840
    assert hook(stage, 'FeatureQueueHook')['start_epoch'] == 0
    assert hook(stage, 'PrototypesHook').get('frozen_iters', 0) == 0
    assert stage['load_from'].endswith('/pretrain/final.pth')
    check_optimizer(stage, numbers['attention_lr'], 20)


def test_published_clustering_and_labels(published):
    stages, numbers = published
    clusters = hook(stages['finetune'], 'ClusterHook')
    assert clusters['num_clusters'] == numbers['num_categories']
    assert clusters['kmeans_iterations'] == 20 and clusters['kmeans_restarts'] == 30
    labels = hook(stages['finetune'], 'PseudoLabelHook')
    assert labels['source'] == clusters['source']
    embedding, whole = labels['source']['dataset']['pipeline'], labels['label_dataset']['pipeline']
    assert [t['type'] for t in embedding[1:]] == ['ResizeShortSide', 'CenterCrop', 'PackImage']
    assert embedding[1]['side'] == 256
    assert embedding[2]['crop_size'] == 224
    assert whole == [*embedding[:2], embedding[3]]


def test_published_finetuning(published):
    stages, numbers = published
    stage = stages['finetune']
    assert stage['load_from'].endswith('/pretrain/final.pth')  # not the attention stage
    head = stage['model']['decode_head']
    assert head['num_classes'] == numbers['num_categories'] + 1
    assert head['num_convs'] == 0 and head['dropout_ratio'] == 0 and not head['concat_input']
    assert defaults(LUSSSegmentor)['loss_stride'] == 2
    types = [t['type'] for t in stage['train_dataloader']['dataset']['pipeline']]
    assert types[2:4] == ['RandomResizedSegCrop', 'RandomFlip']
    assert stage['train_dataloader']['dataset']['pipeline'][2]['size'] == 224
    check_optimizer(stage, 0.6, 20)
    validation = stage['val_dataloader']['dataset']
    assert validation['type'] == 'ImageNetSDataset'
    assert validation['subset'] == numbers['num_categories']


@every_recipe
def test_only_imagenet_s_is_read_as_stored(path):
    """Its masks follow stored pixels; everything else is turned as people see it."""
    stages = default_trainings(path).values()
    blocks = [block for stage in stages for _, block in find_typed_blocks(stage)]
    official = any(block['type'] == 'ImageNetSDataset' for block in blocks)
    found = {b.get('stored_pixels', False) for b in blocks if b['type'] == 'LoadBoundedImage'}
    assert found == {official}
