"""Completion in bash: commands, recipes, and the settings of a recipe.

eval "$(luss complete --print)"
"""

import os
from pathlib import Path

from luss_mm.recipes.find_recipe import recipes
from luss_mm.recipes.setting_types import TYPES

SCRIPT = "complete -o default -o nospace -C 'luss complete' luss"  # bash then sets COMP_LINE
WITH_RECIPE = ('train', 'estimate', 'browse')


def main(arguments: list[str]) -> None:
    """Print the script that switches completion on, or what the word may become."""
    if '--print' in arguments:
        print(SCRIPT)
        return
    line = os.environ.get('COMP_LINE', '')[: int(os.environ.get('COMP_POINT', 10**6))]
    print('\n'.join(candidates(line)))


def candidates(line: str) -> list[str]:
    """What the last word of a line may become.

    Args:
        line: Of the shell, up to the cursor.
    """
    from luss_mm.cli import COMMANDS

    *before, word = line.split(' ')
    before = [part for part in before if part]
    if len(before) <= 1:
        known = [f'{name} ' for name in COMMANDS]
    elif before[1] not in WITH_RECIPE:
        known = []
    elif len(before) == 2:
        known = [f'{name} ' for name in recipes()]
    else:
        known = [f'{name}=' for name in _settings_of(before[2])]
    return [name for name in known if name.startswith(word)]


def _settings_of(recipe: str) -> list[str]:
    from mmengine.config import Config

    path = recipes().get(recipe, Path(recipe))
    if not path.is_file():
        return []
    return [name for name in Config.fromfile(path, import_custom_modules=False) if name in TYPES]
