"""The table of types knows the settings of all recipes, and their own values fit it."""

from pathlib import Path

import pytest
from mmengine.config import Config

from luss_mm.recipes.config_check import RUNNER_KEYS
from luss_mm.recipes.recipe import RECIPE_KEYS
from luss_mm.recipes.setting_types import TYPES, check_settings

RECIPES = [
    p
    for family in ('luss', 'imagenet_s', 'pretraining', 'semi')
    for p in Path('configs', family).glob('*.py')
]
CONTAINERS = {'stages', 'vis_backends', 'runner_type'}


def is_block(value):
    """Whether a value is, or refers to, dicts; None stands for one that is left out."""
    if isinstance(value, (list, tuple)):
        return not value or any(map(is_block, value))
    return value is None or isinstance(value, dict) or (isinstance(value, str) and '${' in value)


@pytest.fixture(scope='module')
def recipes():
    return [Config.fromfile(path).to_dict() for path in RECIPES]


def test_every_setting_of_a_recipe_has_a_type(recipes):
    for values in recipes:
        for name in values.keys() - TYPES.keys() - RUNNER_KEYS - CONTAINERS:
            assert is_block(values[name]), name
    assert RECIPE_KEYS - CONTAINERS <= TYPES.keys()


def test_every_type_belongs_to_a_setting(recipes):
    assert TYPES.keys() <= {*RUNNER_KEYS, *(name for values in recipes for name in values)}


def test_values_of_the_recipes_fit(recipes):
    for values in recipes:
        found = dict(train_split='train', num_categories=7, finetune_epochs=6, work_dir='work')
        lacking = {name: value for name, value in found.items() if values.get(name) is None}
        check_settings(values | {k: v for k, v in lacking.items() if k in {*values, 'work_dir'}})
