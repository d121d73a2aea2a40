"""The recipes of this package with what they cost and reach.

luss recipes
luss train RECIPE --settings     (its settings with type, default and meaning)
"""

import re
import shutil
import textwrap

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.find_recipe import CONFIGS, about, find_recipe, recipes
from luss_mm.recipes.setting_types import TYPES

SETTINGS_PAGE = CONFIGS.parent / 'settings.md'  # docs/settings.md
FIRST = ('data_root', 'num_categories', 'seed')  # settings that most people want
FAMILIES = dict(
    luss='Without labels',
    imagenet_s='Fine-tuning on 1 % of ImageNet-S',
    pretraining='Weights alone, without labels',
    semi='Few masks, many images',
)


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """List the recipes, family by family."""
    new_parser(__doc__).parse_args(arguments)
    for family, title in FAMILIES.items():
        print(f'{title}:')
        for name, path in recipes().items():
            if path.parent.name == family:
                print(f'  {name:32} {about(path)}')
        print()
    print('luss train RECIPE --settings lists the settings of one.')


def settings_table(recipe: str) -> str:
    """Settings of a recipe with default, type and meaning.

    Args:
        recipe: Its name or file.

    Raises:
        FileNotFoundError: If there is no such recipe.
    """
    from mmengine.config import Config

    path = find_recipe(recipe)
    config = Config.fromfile(path, import_custom_modules=False)
    meanings = _meanings(path.parent.name)
    width = max(40, shutil.get_terminal_size().columns)
    blocks = []
    known = [name for name in config if name in TYPES]
    for name in sorted(known, key=lambda name: (name not in FIRST, name)):
        blocks.append(f'{name}={config[name]!s}')
        told = f'{TYPES[name]}. {meanings.get(name, "")}'
        blocks.append(textwrap.fill(told, width, initial_indent='    ', subsequent_indent='    '))
    return '\n'.join(blocks)


def _meanings(family: str) -> dict[str, str]:
    """Setting -> meaning, from the rows of docs/settings.md about a family of recipes."""
    text = SETTINGS_PAGE.read_text(encoding='utf-8')
    parts = re.split(r'^## ', text, flags=re.MULTILINE)
    own = next((part for part in parts if f'configs/{family}/' in part.split('\n')[0]), text)
    rows = (re.split(r'(?<!\\)\|', line)[1:-1] for line in own.splitlines() if line[:3] == '| `')
    return {row[0].strip(' `'): _plain(row[3]) for row in rows if len(row) == 5}


def _plain(cell: str) -> str:
    return re.sub(r'(?<!\\)[`*]', '', cell).replace('\\|', '|').replace('\\*', '*').strip()
