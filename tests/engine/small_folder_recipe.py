"""The recipes for folders with the small networks of the tiny recipe's tests."""

from mmengine.config import Config

from luss_mm.recipes.recipe import Recipe
from tests.small_recipe import OPTIONS

CHANNELS = 64
SMALL_HEAD = {'output_channels': [16, 32, CHANNELS], 'pyramid_head.channels': 8}
PARTS = dict(use_dff=True, use_csd=True, foreground='attention')  # not the defaults of folders


def recipe(work_dir, name='pdso_folder', **settings):
    config = Config.fromfile(f'configs/luss/{name}.py')
    small = {k: v for k, v in OPTIONS.items() if not k.startswith('stages.data')}
    config.merge_from_dict(
        small
        | SMALL_HEAD
        | (PARTS if name == 'pdso_folder' else {})
        | dict(work_dir=str(work_dir), num_categories=3, evaluate=False, feature_channels=CHANNELS)
        | settings
    )
    return Recipe(config)
