"""Absurd numbers and data that does not fit: one line each, before anything trains.

Misspelt keys and the like: tests/recipes/test_recipe.py.
"""

import re

import numpy as np
import pytest
from mmengine.config import Config

from luss_mm.recipes.data_check import check_data
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from tests.tiny_layout import write_image, write_label_map

SETTINGS = {  # one of each kind of type, then what only the images tell
    'batch_size="many"': "batch_size must be a whole number >= 1, not 'many'",
    'num_categories=2.5': 'num_categories must be a whole number >= 1 or None, not 2.5',
    'crop_size=-1': 'crop_size must be a whole number >= 1 for height and width, not -1',
    'use_dff="no"': "use_dff must be True or False, not 'no'",
    'data_root=2024': 'data_root must be a path, not 2024',
    'num_prototypes=0': 'num_prototypes must be a whole number >= 1, or a list of such, not 0',
    'finetune_lr=float("nan")': 'finetune_lr must be a finite number > 0, not nan',
    'on_bad_image="ignore"': "on_bad_image must be 'error' or 'skip', not 'ignore'",
    'foreground_threshold=7': "foreground_threshold must be 'otsu' or 'validation_sw",
    'num_categories=9': '8 training images cannot form 9 clusters. Set a smaller num_categories.',
    'pretrain_splits=["empty"]': 'empty: holds no image',
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Eight training images, a split of one, an empty one, and two validation images."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for i in range(8):
        write_image(root / f'train/a/{i}.png', rng.integers(0, 256, (20, 20, 3)))
    write_image(root / 'one/a/0.png', np.zeros((20, 20, 3)))
    (root / 'empty').mkdir()
    for category in 'ab':
        write_image(root / f'validation/{category}/0.png', np.zeros((20, 20, 3)))
        mask = root / f'validation-segmentation/{category}/0.png'
        write_label_map(mask, np.ones((20, 20), int))
    return root


@pytest.fixture(scope='module')
def parsed():
    return Config.fromfile('configs/luss/pass_tiny.py')


def check(parsed, root, **changes):
    """The tiny recipe on these images."""
    config = Config(parsed.to_dict())
    config.merge_from_dict(
        dict(
            work_dir=str(root / 'run'),
            data_root=str(root),
            stage_order=['pretrain', 'attention', 'finetune'],
            batch_size=4,
            finetune_batch_size=4,
            num_categories=2,
        )
        | changes
    )
    recipe = Recipe(config)
    check_data(recipe, recipe.stage_order)


def test_good_settings_pass(parsed, root):
    check(parsed, root)
    check(parsed, root, num_workers=0, max_side=None, queue_length=0, seed=7)
    check(parsed, root, batch_size=10**9, pretrain_splits=['one'])


@pytest.mark.parametrize('change', SETTINGS)
def test_absurd_settings_are_named(change, parsed, root):
    name, _, value = change.partition('=')
    with pytest.raises(SettingsError, match=re.escape(SETTINGS[change])) as error:
        check(parsed, root, **{name: eval(value)})
    assert '\n' not in str(error.value)
