"""The table of types knows the settings of all recipes, and their own values fit it."""

import pytest
from mmengine.config import Config

from luss_mm.recipes.config_check import RUNNER_KEYS
from luss_mm.recipes.find_recipe import recipes
from luss_mm.recipes.recipe import RECIPE_KEYS
from luss_mm.recipes.setting_types import TYPES, check_settings

CONTAINERS = {'stages', 'vis_backends', 'runner_type'}


def is_block(value):
    """Whether a value is, or refers to, dicts; None stands for one that is left out."""
    if isinstance(value, (list, tuple)):
        return not value or any(map(is_block, value))
    return value is None or isinstance(value, dict) or (isinstance(value, str) and '${' in value)


@pytest.fixture(scope='module')
def values_of_recipes():
    return [Config.fromfile(path).to_dict() for path in recipes().values()]


def test_every_setting_of_a_recipe_has_a_type(values_of_recipes):
    for values in values_of_recipes:
        for name in values.keys() - TYPES.keys() - RUNNER_KEYS - CONTAINERS:
            assert is_block(values[name]), name
    assert RECIPE_KEYS - CONTAINERS <= TYPES.keys()


def test_every_type_belongs_to_a_setting(values_of_recipes):
    assert TYPES.keys() <= {
        *RUNNER_KEYS,
        *(name for values in values_of_recipes for name in values),
    }


def test_values_of_the_recipes_fit(values_of_recipes):
    for values in values_of_recipes:
        found = dict(train_split='train', num_categories=7, finetune_epochs=6, work_dir='work')
        lacking = {name: value for name, value in found.items() if values.get(name) is None}
        check_settings(values | {k: v for k, v in lacking.items() if k in {*values, 'work_dir'}})
