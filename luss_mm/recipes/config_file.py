"""Config files: read, merged with options, and of a stage also read without executing them."""

import ast
import copy
import logging
import os
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import print_log
from mmengine.registry import Registry
from mmengine.utils import is_installed
from mmseg.registry import (
    DATA_SAMPLERS,
    DATASETS,
    MODELS,
    TASK_UTILS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
)

from luss_mm.recipes.config_check import RUNNER_KEYS
from luss_mm.recipes.settings import (
    NotLiteralError,
    SettingsError,
    did_you_mean,
    did_you_mean_path,
    literal,
)

PACKAGES = ('luss_mm', 'mmseg', 'mmpretrain', 'mmcv', 'mmengine')
REGISTRIES = (MODELS, TRANSFORMS, TASK_UTILS, WEIGHT_INITIALIZERS, DATASETS, DATA_SAMPLERS)
# Registered types that load pickles, or what the network or another config names, by themselves.
LOADING_BY_THEMSELVES = (
    'mmpretrain.models.multimodal.',
    'mmpretrain.models.retrievers.',
    'mmpretrain.models.classifiers.hugging_face.',
    'mmpretrain.utils.dependency.',  # stands in for multimodal ones whose packages are missing
    'mmseg.datasets.transforms.loading.LoadBiomedical',
    'mmseg.models.backbones.vpd.',
    'transformers.',
)
WAY_OUT = 'If you trust it, name it with --config FILE: then it is executed like any config.'


class ConfigError(ValueError):
    """A config cannot be used."""


def read_literal_config(path: str | Path) -> Config:
    """Read a config file that mmengine dumped, see `parse_literal_config`."""
    try:
        text = Path(path).read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ConfigError(f'{path}: not a config ({error}).') from error
    return parse_literal_config(text, str(path))


def parse_literal_config(text: str, name: str) -> Config:
    """Turn the text of a dumped config into a Config without executing it.

    mmengine runs config files as Python, and it imports and calls what `type` names if no registry
    knows it. Here a config may hold assignments of literals and `dict(...)` only, and types of
    model and transforms must be registered names.

    Args:
        text: Python source, as `Config.dump` writes it.
        name: Name of the file, for messages.

    Raises:
        ConfigError: If it holds anything else.
    """
    try:
        values = _assignments(ast.parse(text), name)
        config = Config(values)
    except ConfigError:
        raise
    except (SyntaxError, ValueError, KeyError, RecursionError, MemoryError) as error:
        raise ConfigError(f'{name}: not a config ({type(error).__name__}: {error}).') from error
    _check_imports(values.get('custom_imports'), name)
    for section in ('model', 'test_dataloader', 'test_pipeline'):
        check_types(values.get(section), f'{name}: {section}')
    return config


def check_types(value: Any, where: str) -> None:
    """Refuse types that building would look for outside of the registries.

    Args:
        value: Nested dicts, lists and tuples.
        where: What it is, for the message.

    Raises:
        ConfigError: Naming the type.
    """
    for kind in _types_in(value):
        scope, _, registered = kind.rpartition('.')
        if scope not in ('', *PACKAGES) or registered not in _registered_names(scope):
            raise ConfigError(
                f'{where}: type {kind!r} is not registered, or loads more by itself. {WAY_OUT}'
            )


def _assignments(module: ast.Module, name: str) -> dict[str, Any]:
    values = {}
    for statement in module.body:
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            raise ConfigError(f'{name}, line {statement.lineno}: not an assignment. {WAY_OUT}')
        try:
            values[statement.targets[0].id] = literal(statement.value)
        except NotLiteralError as error:
            raise ConfigError(f'{name}, line {error.node.lineno}: {error}. {WAY_OUT}') from error
    return values


def _check_imports(custom_imports: Any, name: str) -> None:
    named = isinstance(custom_imports, Mapping)
    modules = custom_imports.get('imports') if named else custom_imports
    for module in modules if isinstance(modules, (list, tuple)) else [modules]:
        if module is not None and str(module).partition('.')[0] not in PACKAGES:
            raise ConfigError(f'{name}: it imports {module}. {WAY_OUT}')


def _types_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get('type'), str):
            yield value['type']
        for inner in value.values():
            yield from _types_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _types_in(inner)


def _registered_names(scope: str) -> set[str]:
    if scope == 'mmpretrain':
        import mmpretrain.models  # noqa: F401  registers what its configs name
    names: set[str] = set()
    refused: set[str] = set()
    for registry in REGISTRIES:
        registry.import_from_location()
        root = registry.parent or registry
        root.import_from_location()
        for known in _family(root):
            names.update(known.module_dict)
            refused.update(n for n, kind in known.module_dict.items() if _loads_by_itself(kind))
    return names - refused


def _loads_by_itself(kind: Any) -> bool:
    place = f'{getattr(kind, "__module__", "")}.{getattr(kind, "__qualname__", "")}'
    return place.startswith(LOADING_BY_THEMSELVES)


def _family(registry: Registry) -> Iterator[Registry]:
    yield registry
    for child in registry.children.values():
        yield from _family(child)


PACKAGE = Path(__file__).resolve().parents[1]
OWN_CONFIGS = (PACKAGE.parent / 'configs', PACKAGE / '.mim' / 'configs')  # checkout, wheel


def warn_of_foreign_config(path: str | Path) -> None:
    """Log a line, on one rank, if a config that is about to be executed is somebody else's.

    Configs of this package are not, and neither is one that belongs to this account, or to the one
    that the working directory belongs to: in a container both may differ.
    """
    file = Path(path).resolve()
    if os.environ.get('RANK', '0') != '0' or any(map(file.is_relative_to, OWN_CONFIGS)):
        return
    if file.stat().st_uid in (os.geteuid(), Path.cwd().stat().st_uid):
        return
    print_log(
        f'{path} is executed, as every config is, and belongs to another account: go on only if '
        'you trust who wrote it.',
        logger='current',
        level=logging.WARNING,
    )


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
        path: Path of the file.
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
            f'--cfg-options {key}: does not fit the config '
            f'({_setting_in_the_way(config, key) or _shortened(error)})'
        ) from error


def _setting_in_the_way(config: Config, key: str) -> str | None:
    """What to set where a key goes into the value of a setting that the config refers to."""
    first, *inner = key.split('.')
    value = config.get(first)
    for i, part in enumerate(inner):
        if isinstance(value, str):
            named = [n for n in re.findall(r'\w+', value) if isinstance(config.get(n), Mapping)]
            instead = ' or '.join('.'.join([name, *inner[i:]]) for name in named)
            return instead and f'{".".join([first, *inner[:i]])} is {value}: set {instead} instead'
        value = value.get(part) if isinstance(value, Mapping) else None
    return None


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
        return f'{files[-2]}: its _base_ {files[-1]} is not there. Fix _base_.{near}'
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
