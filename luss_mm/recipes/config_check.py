"""Finding misspelt keys of a stage config before anything runs."""

import ast
import difflib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from mmseg import registry as mmseg_registry

from luss_mm.recipes.settings import SettingsError, did_you_mean

# Keys that mmengine's Runner reads from the config itself rather than as arguments.
EXTRA_RUNNER_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
RUNNER_KEYS = (set(inspect.signature(Runner.__init__).parameters) | EXTRA_RUNNER_KEYS) - {
    'self',
    'cfg',
}
# Blocks whose builders take keys of their own away before the constructor sees them.
BUILDER_BLOCKS = {'act_cfg', 'conv_cfg', 'init_cfg', 'norm_cfg', 'upsample_cfg'}
# Arguments that a builder takes away likewise.
BUILDER_ARGUMENTS = {
    '_scope_',
    'constructor',
    'convert_to_iter_based',
    'paramwise_cfg',
    'priority',
    'type',
}
REGISTRIES = [r for r in vars(mmseg_registry).values() if isinstance(r, Registry)]


def check_stage(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a stage with unknown keys or arguments.

    Arguments are checked wherever a `type` is found in a registry and its constructor says what it
    takes; a constructor that passes **kwargs on to its base class is checked against that too.

    Raises:
        SettingsError: Naming the key and, if there is one, the close match.
    """
    for key in config:
        if key not in RUNNER_KEYS:
            raise SettingsError(
                f'stages.{name}.{key}: mmengine has no such key{did_you_mean(key, RUNNER_KEYS)}'
            )
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmseg')):
        for where, block in typed_blocks(config, f'stages.{name}'):
            _check_arguments(where, block)


def typed_blocks(value: Any, where: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and content of every block with a `type` in a nested config."""
    if isinstance(value, Mapping):
        if isinstance(value.get('type'), str):
            yield where, value
        for key, inner in value.items():
            if key not in BUILDER_BLOCKS:
                yield from typed_blocks(inner, f'{where}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from typed_blocks(inner, f'{where}[{i}]')


def _check_arguments(where: str, block: Mapping[str, Any]) -> None:
    target = _find(block['type'])
    if target is None:
        _refuse_misspelt_type(where, block['type'])
    accepted = _accepted_arguments(target) if inspect.isclass(target) else None
    if accepted is None:
        return
    for key in block:
        if key not in accepted | BUILDER_ARGUMENTS:
            raise SettingsError(
                f'{where}.{key}: {block["type"]} takes no such argument'
                f'{did_you_mean(key, accepted)}'
            )


def _find(name: str) -> Any:
    for registry in REGISTRIES:
        if (found := registry.get(name)) is not None:
            return found
    return None


def _refuse_misspelt_type(where: str, name: str) -> None:
    """Only if something of nearly that name is registered: not every `type` is in a registry."""
    registered = {known for registry in REGISTRIES for known in _names(registry)}
    if close := difflib.get_close_matches(name, registered, n=1, cutoff=0.8):
        raise SettingsError(
            f'{where}.type: nothing is registered as {name!r}; did you mean {close[0]!r}?'
        )


def _names(registry: Registry | None) -> Iterator[str]:
    while registry is not None:
        yield from registry.module_dict
        registry = registry.parent


def _accepted_arguments(target: type) -> set[str] | None:
    """Keyword arguments of a class, or None where they cannot be known.

    A constructor's **kwargs are those of the base class only if they go to its constructor and
    nowhere else: wrappers of other packages hand them to those.
    """
    accepted: set[str] = set()
    for cls in target.__mro__:
        if '__init__' not in vars(cls) or cls is object:  # whose signature takes anything
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        accepted |= {
            p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        }
        rest = next((p.name for p in parameters if p.kind == p.VAR_KEYWORD), None)
        if rest is None:
            return accepted
        taken = _taken_on_the_way(cls.__init__, rest)
        if taken is None:
            return None
        accepted |= taken
    return accepted


def _taken_on_the_way(constructor: Any, rest: str) -> set[str] | None:
    """Keys that a constructor reads from its **kwargs before the base class gets them.

    Args:
        constructor: An `__init__` with **kwargs.
        rest: Their name.

    Returns:
        The keys; None if the source cannot be read or does anything else with them.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(constructor)))
    except (OSError, SyntaxError, TypeError):
        return None
    understood, taken = 0, set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr='__init__'), keywords=keywords):
                passed = (part for k in keywords if k.arg is None for part in ast.walk(k.value))
                understood += sum(_is_name(part, rest) for part in passed)
            case ast.Call(
                func=ast.Attribute(value=owner, attr='get' | 'pop' | 'setdefault'),
                args=[ast.Constant(value=str(key)), *_],
            ) if _is_name(owner, rest):
                understood, taken = understood + 1, taken | {key}
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))) if _is_name(
                owner, rest
            ):
                understood, taken = understood + 1, taken | {key}
            case ast.Compare(left=ast.Constant(value=str(key)), comparators=[owner]) if _is_name(
                owner, rest
            ):
                understood, taken = understood + 1, taken | {key}
    uses = sum(_is_name(node, rest) for node in ast.walk(tree))
    return taken if uses == understood else None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
