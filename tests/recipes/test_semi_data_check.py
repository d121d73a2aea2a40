"""What the check of a recipe says of labelled and unlabelled images."""

import re

import pytest
from mmengine.config import Config

from luss_mm.recipes.data_check import check_data
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from tests.datasets.semi_layout import LABELLED, UNLABELLED, semi_config, write_lines, write_split


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path)
    return tmp_path


def recipe(root, dataset=None, work_dir=None, **changes):
    """One stage with 2 labelled, 2 unlabelled images and 2 partners."""
    lists = str(root / 'labelled.txt'), str(root / 'unlabelled.txt')
    loader = dict(
        batch_size='${batch}',
        collate_fn=dict(type='collate_views'),
        sampler=dict(type='SemiSampler', labelled=2, unlabelled='${drawn}', partners='${partners}'),
        dataset=dataset or semi_config(root, lists, dict(labelled=[]), dict(weak=[])),
    )
    config = Config(
        dict(
            work_dir=str(work_dir or root / 'work_dirs'),
            stage_order=['semi'],
            stages=dict(semi=dict(model=dict(type='LUSSSegmentor'), train_dataloader=loader)),
            batch=6,
            drawn=2,
            partners=True,
            default_scope='mmseg',
        )
    )
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return Recipe(config)


def check(root, *args, **changes):
    check_data(recipe(root, *args, **changes), ['semi'])


LOADER = 'stages__semi__train_dataloader__'


def test_what_can_work_is_let_pass(root):
    check(root)
    check(root, drawn=UNLABELLED, partners=False, batch=2 + UNLABELLED)
    # labelled images are drawn several times
    check(root, **{LOADER + 'sampler__labelled': 9}, batch=13)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(batch=4),
            'stages.semi.train_dataloader: batch is 4, but the sampler draws 6 samples for '
            'labelled=2, unlabelled=2, partners=True. Set it to 6.',
        ),
        (dict(partners=False), 'batch is 6, but the sampler draws 4 samples'),
        (
            dict(drawn=6, batch=14),
            f'{UNLABELLED} unlabelled images do not fill one batch of 6 on 1 rank(s). Set a '
            'smaller drawn.',
        ),
        ({LOADER + 'collate_fn': None}, "set collate_fn=dict(type='collate_views')"),
        (
            {
                LOADER + 'sampler': dict(
                    _delete_=True,
                    type='SemiSampler',
                    unlabelled='${drawn}',
                    partners='${partners}',
                )
            },
            'sampler needs the numbers labelled and unlabelled',
        ),
        (
            {
                LOADER + 'sampler': dict(_delete_=True, type='EpochSampler'),
                LOADER + 'num_workers': '${drawn * partners}',
            },
            'SemiSampler and SemiDataset go together',
        ),
        (
            {LOADER + 'dataset__unlabelled__pipeline': [dict(type='PackViews')]},
            "missing 1 required positional argument: 'views'",
        ),
        (
            {LOADER + 'dataset__labelled__pipeline': [dict(type='PackViews', views={})]},
            'PackViews needs at least one view',
        ),
        ({LOADER + 'dataset__unlabelled__image_list': 'nowhere.txt'}, 'nowhere.txt: no such list'),
    ],
)
def test_mistakes_are_named_before_training(root, changes, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        check(root, **changes)


def test_missing_masks_of_both_parts_are_named(root):
    (root / 'masks/1.png').unlink()
    with pytest.raises(SettingsError, match=r'labelled.txt, line 2: no file .*masks/1.png'):
        check(root)
    write_lines(root / 'labelled.txt', 'images/0.jpg')
    lines = [f'images/{i}.jpg masks/{i}.png' for i in range(LABELLED, LABELLED + UNLABELLED)]
    write_lines(root / 'unlabelled.txt', *lines)
    (root / 'masks/5.png').unlink()
    check(root)  # masks=False
    with pytest.raises(SettingsError, match=r'unlabelled.txt, line 3: no file .*masks/5.png'):
        check(root, **{LOADER + 'dataset__unlabelled__masks': True})
