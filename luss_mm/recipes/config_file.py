"""Reading a config file that somebody names, with a message of one line if it is none."""

import copy
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import is_installed

from luss_mm.recipes.config_check import RUNNER_KEYS
from luss_mm.recipes.foreign_config import warn_of_foreign_config
from luss_mm.recipes.literal_config import ConfigError
from luss_mm.recipes.path_suggestion import did_you_mean_path
from luss_mm.recipes.settings import SettingsError, did_you_mean

SUFFIXES = ('.py', '.json', '.yaml', '.yml')  # that mmengine knows
READERS = ('_file2dict', '_is_lazy_import', '_parse_lazy_import')  # of mmengine, one file each
FAULTS_OF_OPTIONS = (AttributeError, IndexError, KeyError, TypeError, ValueError)
LONGEST = 300  # characters of a reason
OWN = 'luss_mm'

# `_base_ = 'luss_mm::luss/pass_photos.py'`, and `mmseg::` with the maintained releases.
MODULE2PACKAGE.setdefault(OWN, OWN)
for _module in ('mmseg', 'mmpretrain'):
    if not is_installed(MODULE2PACKAGE[_module]) and is_installed(
        f'onedl-{MODULE2PACKAGE[_module]}'
    ):
        MODULE2PACKAGE[_module] = f'onedl-{MODULE2PACKAGE[_module]}'


def read_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Execute a config that somebody names, and merge what the command line sets.

    Args:
        path: Of the file.
        options: See `merge_options`.

    Raises:
        OSError, ConfigError: See `read_own_config`.
        SettingsError: If an option fits nowhere.
    """
    _refuse_other_files(path)
    warn_of_foreign_config(path)
    config = read_own_config(path)
    merge_options(config, options)
    return config


def read_own_config(path: str | Path) -> Config:
    """Execute a config, as mmengine does, that a run has written.

    Raises:
        OSError: If there is none, or it may not be read.
        ConfigError: If it is no config, or one of its `_base_` or imports is missing.
    """
    _refuse_other_files(path)
    try:
        return _without_own_scope(Config.fromfile(path))
    except Exception as error:
        if not (reason := _fault_of_the_config(error, path)):
            raise
        raise ConfigError(reason) from error


def _without_own_scope(value: Any) -> Any:
    """The same without the scope that mmengine notes below `luss_mm::`: ours are mmseg's own."""
    if isinstance(value, (list, tuple)):
        for inner in value:
            _without_own_scope(inner)
    elif isinstance(value, Mapping) or isinstance(value, Config):
        if value.get('_scope_') == OWN:
            del value['_scope_']
        for key in list(value.keys()):
            _without_own_scope(value[key])
    return value


def merge_options(config: Config, options: Mapping[str, Any] | None) -> None:
    """Merge what the command line sets into a config.

    Args:
        config: Changed in place.
        options: Keys with dots to values.

    Raises:
        SettingsError: If one fits nowhere. A recipe finds those that nothing uses by itself.
    """
    options = {key: _with_own_hooks(config, key, value) for key, value in (options or {}).items()}
    for key in options if 'stages' not in config else ():
        outer = key.partition('.')[0]
        if outer not in config and outer not in RUNNER_KEYS:
            near = did_you_mean(outer, sorted({*config.keys(), *RUNNER_KEYS}))
            raise SettingsError(f'--cfg-options {key}: the config has no {outer!r}{near}')
    try:
        config.merge_from_dict(dict(options))
    except FAULTS_OF_OPTIONS as error:
        wrong = (key for key, value in options.items() if not _fits(config, {key: value}))
        key = next(wrong, ', '.join(options))  # all of them where only together they do not fit
        raise SettingsError(
            f'--cfg-options {key}: does not fit the config ({_shortened(error)})'
        ) from error


def _with_own_hooks(config: Config, key: str, value: Any) -> Any:
    """Hooks of the command line are added to those of the config, which its stages need."""
    if key.rpartition('.')[2] != 'custom_hooks':
        return value
    own: Any = config
    for part in key.split('.'):
        own = own.get(part) if isinstance(own, (Config, Mapping)) else None
    return [*(own or ()), *([value] if isinstance(value, Mapping) else value or ())]


def _fits(config: Config, options: dict[str, Any]) -> bool:
    try:
        copy.deepcopy(config).merge_from_dict(options)
    except FAULTS_OF_OPTIONS:
        return False
    return True


def refuse_incomplete(config: Config, path: str | Path, keys: Sequence[str]) -> None:
    """Refuse what is not the config of one training or test.

    Raises:
        ConfigError: Naming the key that is missing.
    """
    for key in keys:
        if config.get(key) is None:
            raise ConfigError(f'{path}: sets no {key}. Name a recipe, or a config that sets it.')


def _refuse_other_files(path: str | Path) -> None:
    with open(path, 'rb'):
        pass  # names a folder, a file that is not there, or one that may not be read
    if Path(path).suffix not in SUFFIXES:
        raise ConfigError(f'{path}: not a config. Name a file that ends in {", ".join(SUFFIXES)}.')


def _fault_of_the_config(error: Exception, path: str | Path) -> str | None:
    """What is wrong in which file, or None if it is in a module that the config imports."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    readers = (frame for frame in frames if frame.f_code.co_name in READERS)
    files = list(dict.fromkeys([str(path), *(str(f.f_locals['filename']) for f in readers)]))
    if isinstance(error, FileNotFoundError) and not os.path.exists(files[-1]):
        near = did_you_mean_path(files[-1])
        return f'{files[-2]}: its _base_ {files[-1]} is not there. Mend _base_.{near}'
    if isinstance(error, ImportError) and isinstance(error.__cause__, ImportError):
        # What mmengine says itself goes on with all of sys.path.
        return f'{path}: custom_imports: {error.__cause__.__context__ or error.__cause__}.'
    if any('importlib' in frame.f_code.co_filename for frame in frames):
        return None
    number = _line_of(error, files[-1])
    place = f'{files[-1]}, line {number}' if number else files[-1]
    return f'{place}: not a config ({type(error).__name__}: {_shortened(error)}).'


def _line_of(error: Exception, file: str) -> int | None:
    """Where in a config an error is, if it is in its Python."""
    if isinstance(error, SyntaxError):
        return error.lineno
    steps = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in steps if frame.f_code.co_filename == os.path.abspath(file)]
    return lines[-1] if lines else None


def _shortened(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return ' '.join(text.split())[:LONGEST]
