"""What several commands read from the command line; of a recipe its settings as NAME=VALUE."""

import argparse
import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from luss_mm.recipes.find_recipe import check_options, find_recipe
from luss_mm.recipes.setting_types import OptionAction
from luss_mm.recipes.settings import did_you_mean

if TYPE_CHECKING:
    from mmengine.config import Config


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with one line: the usage of some commands would fill the terminal."""
        self.exit(2, f'error: {message} ({self.prog} --help)\n')


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a docstring as it is, and errors in one line."""
    return _Parser(
        description=inspect.cleandoc(description or ''),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def one_of(module: str, name: str) -> Callable[[str], str]:
    """Type of an argument that is one of the names that a module has.

    The module is imported when an argument is read: not for `--help`, and not without the argument.

    Args:
        module: Name of the module.
        name: Name of the container of names in it.
    """

    def read(text: str) -> str:
        known = getattr(import_module(module), name)
        if text not in known:
            raise argparse.ArgumentTypeError(not_known(text, known))
        return text

    return read


def not_known(text: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the nearest ones, or all of them."""
    return f'{text!r}{did_you_mean(text, list(known)) or ": none of " + ", ".join(known)}'


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
