"""Recipes by name, from the source tree or from the installed package."""

import ast
import difflib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

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
        name: Of a recipe of this package (`pdso_photos`), or path of any config.

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


def check_names(path: Path, names: Iterable[str]) -> None:
    """Refuse settings whose names are misspelt, before anything heavy is imported.

    Names that resemble none are left to the check of the whole recipe.

    Args:
        path: Of a recipe or any config.
        names: Of settings; those with dots are left out.

    Raises:
        SettingsError: If a name is almost that of a setting.
    """
    if path.resolve() not in recipes().values():
        return
    from mmengine.config import Config

    known = {*Config.fromfile(path, import_custom_modules=False), *TYPES}
    for name in names:
        if '.' not in name and name not in known:
            if near := difflib.get_close_matches(name, known, n=1, cutoff=CLOSE):
                raise SettingsError(f'no such setting: {name!r}; did you mean {near[0]!r}?')
