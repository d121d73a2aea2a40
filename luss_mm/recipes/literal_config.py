"""Reading a config that came with a run or a checkpoint as data: nothing in it is executed."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmseg.registry import (
    DATA_SAMPLERS,
    DATASETS,
    MODELS,
    TASK_UTILS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
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
        name: Of the file, for messages.

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
        values[statement.targets[0].id] = _literal(statement.value, name)
    return values


def _literal(node: ast.expr, name: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if not node.keywords and len(node.args) == 1 and isinstance(node.args[0], ast.Dict):
            return _literal(node.args[0], name)  # so mmengine writes keys that are no names
        if not node.args and all(keyword.arg for keyword in node.keywords):
            return {k.arg: _literal(k.value, name) for k in node.keywords}
    elif isinstance(node, ast.Dict) and all(isinstance(k, ast.Constant) for k in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _literal(value, name) for key, value in pairs}
    elif isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item, name) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    elif isinstance(node, (ast.Constant, ast.UnaryOp, ast.Set)):
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError):
            pass  # refused below
    raise ConfigError(
        f'{name}, line {node.lineno}: {ast.unparse(node)[:60]!r} is not a literal. {WAY_OUT}'
    )


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
