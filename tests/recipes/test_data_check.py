import re
import shutil

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from luss_mm.recipes.data_check import check_data, check_images_of, fitting_batch
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from tests.two_ranks import run_on_two_ranks

IMAGES = 6  # of the fixture data_root
NO_SIZE = dict(type='MultiCrop', views=[dict(num=2)])


@HOOKS.register_module()
class ObjectingHook(Hook):
    """Objects to a number."""

    def __init__(self, number=0):
        if number == 1:
            raise ValueError('not 1')
        self.number = number

    def check(self):
        if self.number == 2:
            raise ValueError('not 2. Set 3.')


def loader(split, masks='', **settings):
    dataset = dict(
        type='LUSSDataset',
        data_root='${data_root}',
        data_prefix=dict(img_path=split, seg_map_path=masks),
        pipeline=[dict(type='LoadBoundedImage')],
    )
    return dict(dict(batch_size='${batch}', drop_last=True, dataset=dataset), **settings)


def recipe(data_root, work_dir='work_dirs/test', **changes):
    """Two stages; the second trains on label maps that the run makes, and is scored."""
    first = dict(model=dict(type='PASSPretrainer'), train_dataloader=loader('train'))
    second = dict(
        model=dict(type='LUSSSegmentor'),
        train_dataloader=loader('train', '${work_dir}/pseudo_labels'),
        val_dataloader=loader('validation', 'validation-segmentation', batch_size=1),
        custom_hooks=[dict(type='ObjectingHook', number='${number}')],
    )
    config = Config(
        dict(
            work_dir=str(work_dir),
            stage_order=['first', 'second'],
            stages=dict(first=first, second=second),
            data_root=str(data_root),
            batch=3,
            number=0,
            default_scope='mmseg',
        )
    )
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return Recipe(config)


def check(*args, **kwargs):
    found = recipe(*args, **kwargs)
    check_data(found, found.stage_order)


def test_what_can_work_is_let_pass(data_root):
    check(data_root)
    check(data_root, batch=99)


@pytest.mark.parametrize(
    ('changes', 'batch'),
    [
        (dict(), 3),
        (dict(batch=IMAGES), IMAGES),
        (dict(batch=70), IMAGES),
        (dict(batch=70, stages__first__train_dataloader__drop_last=False), 70),
    ],
)
def test_a_batch_is_no_larger_than_the_number_of_images(data_root, changes, batch):
    found = recipe(data_root, **changes)
    assert fitting_batch(found, found.stage('first', '')['train_dataloader']) == batch


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(data_root='/nowhere'), 'train_dataloader: data_root=/nowhere: no such folder.'),
        (dict(batch=0), 'stages.first.train_dataloader: a batch has no image. Set a larger batch.'),
        (
            dict(batch=0, stages__second__train_dataloader__batch_size=-1),
            'larger batch. stages.second.train_dataloader: a batch has no image.',
        ),
        (
            dict(stages__second__val_dataloader__dataset__data_prefix__img_path='val'),
            'val: no such folder. Set data_root or data_prefix. Without a labelled split, set eval',
        ),
        (
            dict(stages__second__val_dataloader__dataset__data_prefix__seg_map_path='masks'),
            'stages.second.val_dataloader: 4 of 4 images have no mask, ',
        ),
        (
            dict(stages__first__train_dataloader__dataset__pipeline=[NO_SIZE]),
            'a group of views has num, size and scale',
        ),
        (dict(number=1), 'stages.second.custom_hooks: ObjectingHook: '),
        (dict(number=2), 'stages.second.custom_hooks: ObjectingHook: not 2. Set 3.'),
    ],
)
def test_mistakes_name_the_stage_and_the_fix(data_root, changes, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        check(**(dict(data_root=data_root) | changes))


def test_a_folder_of_nearly_the_name_is_named(data_root):
    near = data_root.with_name(f'{data_root.name}s')
    with pytest.raises(SettingsError, match=f'data_root={near}: .* Did you mean {data_root}\\?'):
        check(near)
    changes = dict(stages__first__train_dataloader__dataset__data_prefix__img_path='trian')
    with pytest.raises(SettingsError, match='trian: no such folder.*Did you mean .*/train\\?'):
        check(data_root, **changes)


def test_images_of_two_folders_that_share_a_label_map_are_all_named(data_root):
    paths = sorted((data_root / 'train').rglob('*.JPEG'))[:2]
    for path in paths:
        copy = data_root / 'more' / path.relative_to(data_root / 'train')
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    prefix = dict(img_path=['train', 'more'], seg_map_path='${work_dir}/pseudo_labels')
    changes = dict(stages__second__train_dataloader__dataset__data_prefix=prefix)
    with pytest.raises(SettingsError) as error:
        check(data_root, **changes)
    message = str(error.value)
    assert message.startswith('stages.second.train_dataloader: ')
    assert message.endswith('Rename one of each pair.')
    assert all(str(path) in message for path in paths)
    check(data_root, stage_order='first', **changes)  # makes no label maps


def test_one_missing_mask_is_named(data_root):
    path = sorted((data_root / 'validation-segmentation').rglob('*.png'))[2]
    path.unlink()
    with pytest.raises(SettingsError, match=re.escape(f'1 of 4 images have no mask, {path} for')):
        check(data_root)
    check(data_root, evaluate=False)


def test_label_maps_of_the_run_are_no_input(data_root):
    """Also where the work directory lies within the data: they come into being during the stage."""
    found = [recipe(data_root, data_root / 'runs/1').stage_inputs('second')]
    labels = data_root / 'runs/1/pseudo_labels/ant'
    labels.mkdir(parents=True)
    source = next((data_root / 'validation-segmentation').rglob('*.png'))
    shutil.copy(source, labels / 'train_ant_0.png')
    found.append(recipe(data_root, data_root / 'runs/1').stage_inputs('second'))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    'wrap',
    [
        lambda inner: dict(type='RepeatDataset', times=2, dataset=inner),
        lambda inner: dict(type='ConcatDataset', datasets=[inner, inner]),
    ],
    ids=['repeat', 'concat'],
)
def test_wrapped_images_are_looked_at(data_root, tmp_path, wrap):
    inner = loader('train')['dataset']
    changes = dict(
        stages__first__train_dataloader=dict(
            _delete_=True, batch_size='${batch}', drop_last=True, dataset=wrap(inner)
        ),
        batch=13,
        stage_order='first',
    )
    check(data_root, **changes)
    found = recipe(data_root, **changes)
    assert fitting_batch(found, found.stage('first', '')['train_dataloader']) == 2 * IMAGES
    before = recipe(data_root, tmp_path / 'run', **changes).stage_inputs('first')
    path = next((data_root / 'train').rglob('*.JPEG'))
    path.write_bytes(path.read_bytes()[:-9])
    found = recipe(data_root, tmp_path / 'run', **changes)
    assert found.stage_inputs('first') != before
    with pytest.raises(SettingsError, match=re.escape(f'{path}: truncated')):
        check_images_of(found, ['first'])


def rank_message(rank, data_root, changes):
    try:
        check(data_root, **changes)
    except SettingsError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(), None),
        (dict(batch=4), None),
        (dict(batch=0), 'stages.first.train_dataloader: a batch has no image. Set a larger batch.'),
        (dict(number=2), 'stages.second.custom_hooks: ObjectingHook: not 2. Set 3.'),
        (dict(stages__first__train_dataloader__dataset__data_prefix__img_path='x'), 'stages.first'),
    ],
)
def test_all_ranks_stop(data_root, changes, message):
    answers = run_on_two_ranks(rank_message, data_root, changes)
    assert answers[0] == answers[1]
    assert answers[0] is None if message is None else answers[0].startswith(message)
