"""Recipes by name, from the source tree or from the installed package."""

import ast
import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from luss_mm.recipes.setting_types import TYPES
from luss_mm.recipes.settings import SettingsError, did_you_mean, did_you_mean_path

# A link into the source tree; a folder in an installed package.
CONFIGS = Path(__file__).parents[1] / '.mim' / 'configs'
SUFFIXES = ('.py', '.json', '.yaml', '.yml')
CLOSE = 0.8  # of difflib's ratio: an unknown setting is then a typing error


@cache
def recipes() -> dict[str, Path]:
    """The recipes of this package by name, family by family."""
    return {
        path.stem: path.resolve()
        for path in sorted(CONFIGS.glob('*/*.py'))
        if not path.parent.name.startswith('_')
    }


def about(path: Path) -> str:
    """The first sentence of a recipe's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    return ' '.join(text.split('\n\n')[0].split())


def find_recipe(name: str | Path) -> Path:
    """File of a recipe.

    Args:
        name: Name of a recipe of this package (`pdso_photos`), or path of any config.

    Raises:
        FileNotFoundError: If there is neither; it names the nearest recipe or path.
    """
    path = Path(name)
    if path.exists() or path.suffix in SUFFIXES:
        return path  # what reads it says if it is none
    if str(name) in recipes():
        return recipes()[str(name)]
    near = did_you_mean(str(name), recipes()) or did_you_mean_path(path)
    raise FileNotFoundError(f'{name}: no such recipe{near or "; luss recipes lists them"}')


def check_options(path: Path, options: Mapping[str, Any], needs_images: bool = False) -> None:
    """Refuse misspelt settings and a missing `data_root` before anything heavy is imported.

    Names that resemble none, and configs of others, are left to the check of the whole recipe.

    Args:
        path: Path of a recipe or any config.
        options: Settings by name; those with dots are left out.
        needs_images: Whether the folder of the images must be there.

    Raises:
        SettingsError: If a name is almost that of a setting, or there is no folder `data_root`,
            unless the recipe itself fills one in its work directory.
    """
    if path.resolve() not in recipes().values():
        return
    from mmengine.config import Config

    config = Config.fromfile(path, import_custom_modules=False)
    known = {*config, *TYPES}
    for name in options:
        if '.' not in name and name not in known:
            if near := difflib.get_close_matches(name, known, n=1, cutoff=CLOSE):
                raise SettingsError(f'no such setting: {name!r}; did you mean {near[0]!r}?')
    makes_images = '${' in (config.get('data_root') or '')
    if needs_images and not makes_images and 'data_root' in known:
        root = options.get('data_root', config.get('data_root'))
        if not Path(root).is_dir():
            fix = did_you_mean_path(root) or ' Set data_root to the folder of your images.'
            raise SettingsError(f'data_root={root}: no such folder.{fix}')
