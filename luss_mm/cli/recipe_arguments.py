"""A recipe on the command line: its name or file, then settings as NAME=VALUE."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import new_parser
from luss_mm.recipes.command_line import OptionAction
from luss_mm.recipes.find_recipe import check_options, find_recipe

if TYPE_CHECKING:
    from mmengine.config import Config


def recipe_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of a recipe, its settings and its work directory.

    Its `parse_intermixed_args` takes settings before and after other options.
    """
    parser = new_parser(description)
    parser.add_argument('config', metavar='RECIPE', help='name or file; or any mmseg config')
    parser.add_argument(
        'settings_of_recipe',
        nargs='*',
        action=OptionAction,
        metavar='NAME=VALUE',
        help='settings, see `luss train RECIPE --settings`',
    )
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='the same')
    parser.add_argument('--work-dir', help='default: work_dirs/<name of the recipe>')
    return parser


def load_recipe(parsed: argparse.Namespace, needs_images: bool = True) -> 'Config':
    """The config with the settings and the work directory of the command line.

    Raises:
        FileNotFoundError: If there is no such recipe.
        SettingsError: If there is no such setting, or no such folder of images where it is needed.
    """
    path = find_recipe(parsed.config)
    options = (parsed.cfg_options or {}) | (parsed.settings_of_recipe or {})
    check_options(path, options, needs_images)

    from luss_mm.recipes.config_file import read_config

    config = read_config(path, options)
    if parsed.work_dir is not None:
        config.work_dir = parsed.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs', path.stem))
    return config
