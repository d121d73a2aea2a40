"""Images are normalised by one mean and std in every stage: those of the backbone's weights."""

from pathlib import Path

import pytest
from mmengine.config import Config

from luss_mm.recipes.config_check import typed_blocks
from luss_mm.recipes.recipe import Recipe

CONFIGS = Path(__file__).parents[1] / 'configs'
# One of each family of stages.
RECIPES = (
    'luss/pass_folder',
    'luss/pdso_folder',
    'luss/pdso_s50_dinov2_small',
    'imagenet_s/semi_folder',
    'semi/dssn_folder',
    'semi/supervised_folder',
    'semi/pct_folder',
)
MEAN, STD = [127.5, 127.0, 126.5], [127.5, 120.0, 110.0]


def load_recipe(name, **settings):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.merge_from_dict(dict(work_dir='work_dirs/test', num_categories=3, **settings))
    return Recipe(config)


@pytest.mark.parametrize('name', RECIPES)
def test_mean_and_std_reach_every_training(name):
    recipe, plain = load_recipe(name, image_mean=MEAN, image_std=STD), load_recipe(name)
    for training in filter(recipe.is_training, recipe.stage_order):
        blocks = [block for _, block in typed_blocks(recipe.stage(training, 'x'))]
        found = [b for b in blocks if b['type'].lower().endswith('preprocessor')]
        assert found and all((b['mean'], b['std']) == (MEAN, STD) for b in found), training
        assert recipe.settings_of(training) != plain.settings_of(training)  # so the keys differ
