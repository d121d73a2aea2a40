"""Settings of a recipe, references to them, and what a misspelt one was probably meant to be."""

import ast
import contextlib
import copy
import difflib
import operator
import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

# Lists whose entries may be left out by a choice: "${hook if use_it else None}".
OPTIONAL_ENTRIES = {'custom_hooks', 'param_scheduler', 'pipeline'}
# How fast or how loud, not what, or read by mmseg's tests alone: these may change between runs of
# one stage.
WITHOUT_EFFECT = {
    'bad_images',  # they are missing in the fingerprint
    'compile',
    'custom_imports',
    'env_cfg',
    'experiment_name',
    'image_index',
    'launcher',
    'log_level',
    'log_processor',
    'num_workers',
    'persistent_workers',
    'pin_memory',
    'prefetch_factor',
    'tta_model',
    'tta_pipeline',
    'visualizer',
    'work_dir',
}


def plain(value: Any) -> Any:
    """Deep copy with ordinary dicts and lists, so that no lazy or attribute dict is left."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(inner) for inner in value)
    return copy.deepcopy(value)


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict:
    """Both, with the second one's values where they differ, dicts within them as well."""
    result = dict(base)
    for key, value in own.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def without_absent(value: Any) -> Any:
    """Without the hooks and transforms that a choice resolved to None."""
    if isinstance(value, Mapping):
        found = {key: without_absent(inner) for key, inner in value.items()}
        for key in OPTIONAL_ENTRIES & found.keys():
            if isinstance(found[key], list):
                found[key] = [entry for entry in found[key] if entry is not None]
        return found
    if isinstance(value, (list, tuple)):
        return type(value)(without_absent(inner) for inner in value)
    return value


def without_effectless(value: Any) -> Any:
    """Without what decides how fast or how loud a stage is, and not what comes out."""
    if isinstance(value, Mapping):
        return {k: without_effectless(v) for k, v in value.items() if k not in WITHOUT_EFFECT}
    if isinstance(value, (list, tuple)):
        return [without_effectless(inner) for inner in value]
    return value


CLOSE = 0.75  # of difflib's ratio; numbered names should not stand in for each other


def did_you_mean_path(path: str | Path) -> str:
    """' Did you mean X?', X beside the first part that is not there; nothing without one."""
    missing = Path(path).absolute()
    if os.path.lexists(missing):
        return ''
    while not os.path.lexists(missing.parent):
        missing = missing.parent
    try:
        close = difflib.get_close_matches(missing.name, os.listdir(missing.parent), 1, CLOSE)
    except OSError:
        return ''
    if not close:
        return ''
    near = missing.with_name(close[0])
    return f' Did you mean {near if os.path.isabs(path) else os.path.relpath(near)}?'


REFERENCE = re.compile(r'\$\{([^{}]+)\}')
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Gt: operator.gt,
    ast.Eq: operator.eq,
}


class SettingsError(ValueError):
    """A recipe refers to, or sets, something that does not exist."""


class Settings:
    """Flat settings of a recipe and which of them were referred to.

    A string that is one reference keeps the setting's type ('${num_categories}' is an int,
    '${backbone}' a dict); within a longer string the value is inserted as text. A reference may be
    arithmetic on names and numbers: '${num_categories + 1}' or '${num_workers > 0}', and a choice:
    "${'dff_h' if use_dff else 'attention'}". Dots reach into dicts.

    Args:
        values: Names to values, which may refer to each other.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.used: set[str] = set()

    def resolve(self, value: Any, where: str = '') -> Any:
        """Replace all references in a nested structure.

        Args:
            value: Dicts, lists, tuples, strings and whatever they hold.
            where: Key of the value, for the message.

        Raises:
            SettingsError: If a name is unknown, refers to itself or cannot be computed with.
        """
        return self._resolve(value, where, ())

    def unused(self) -> list[str]:
        """Settings that nothing has referred to so far."""
        return sorted(set(self.values) - self.used)

    def _resolve(self, value: Any, where: str, open_names: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping):
            return {
                key: self._resolve(inner, f'{where}.{key}' if where else str(key), open_names)
                for key, inner in value.items()
            }
        if isinstance(value, (list, tuple)):
            return type(value)(
                self._resolve(inner, f'{where}[{i}]', open_names) for i, inner in enumerate(value)
            )
        if not isinstance(value, str):
            return value
        whole = REFERENCE.fullmatch(value)
        if whole:
            return self._evaluate(whole[1], where, open_names)
        text = REFERENCE.sub(lambda m: str(self._evaluate(m[1], where, open_names)), value)
        if '${' in text:
            raise SettingsError(f'{where}: {value!r} holds an unfinished reference')
        return text

    def _evaluate(self, expression: str, where: str, open_names: tuple[str, ...]) -> Any:
        try:
            tree = ast.parse(expression.strip(), mode='eval').body
        except SyntaxError as error:
            raise SettingsError(f"{where}: '${{{expression}}}' is not a reference") from error
        return self._compute(tree, where, open_names)

    def _compute(self, node: ast.expr, where: str, open_names: tuple[str, ...]) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, NoneType)):
            return node.value
        if isinstance(node, ast.IfExp):
            # Both are looked up, so that a setting of the branch not taken is not an unused one.
            branches = [self._compute(b, where, open_names) for b in (node.orelse, node.body)]
            return branches[bool(self._compute(node.test, where, open_names))]
        if (operands := _operands(node)) is not None:
            symbol, *sides = operands
            left, right = (self._compute(side, where, open_names) for side in sides)
            try:
                return OPERATORS[type(symbol)](left, right)
            except (TypeError, ZeroDivisionError) as error:
                raise SettingsError(f'{where}: {ast.unparse(node)}: {error}') from error
        if isinstance(node, ast.Attribute):
            outer = self._compute(node.value, where, open_names)
            if not isinstance(outer, Mapping) or node.attr not in outer:
                raise SettingsError(f'{where}: {ast.unparse(node)} does not exist')
            return outer[node.attr]
        if isinstance(node, ast.Name):
            return self._look_up(node.id, where, open_names)
        raise SettingsError(
            f'{where}: {ast.unparse(node)!r}: only names, numbers, texts, + - * / // > == and if'
        )

    def _look_up(self, name: str, where: str, open_names: tuple[str, ...]) -> Any:
        if name not in self.values:
            raise SettingsError(
                f'{where} refers to the setting {name!r}, which is not set'
                f'{did_you_mean(name, self.values)}'
            )
        if name in open_names:
            raise SettingsError(f'the setting {name!r} refers to itself')
        self.used.add(name)
        return self._resolve(self.values[name], name, (*open_names, name))


def _operands(node: ast.expr) -> tuple[ast.AST, ast.expr, ast.expr] | None:
    """Operator and both sides of a known binary operation."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return node.op, node.left, node.right
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        return node.ops[0], node.left, node.comparators[0]
    return None


class NotLiteralError(ValueError):
    """A part of an expression is no literal.

    Args:
        node: The part.
    """

    def __init__(self, node: ast.expr) -> None:
        super().__init__(f'{ast.unparse(node)[:60]!r} is not a literal')
        self.node = node


def literal(node: ast.expr) -> Any:
    """Value of an expression of literals, `dict(a=1)` included; nothing is executed.

    Raises:
        NotLiteralError: If it holds anything else.
    """
    match node:
        case ast.Call(func=ast.Name('dict'), args=[ast.Dict() as inner], keywords=[]):
            return literal(inner)  # so mmengine writes keys that are no names
        case ast.Call(func=ast.Name('dict'), args=[], keywords=given) if all(k.arg for k in given):
            return {keyword.arg: literal(keyword.value) for keyword in given}
        case ast.Dict(keys=keys, values=values) if all(isinstance(k, ast.Constant) for k in keys):
            return {k.value: literal(v) for k, v in zip(keys, values, strict=True)}
        case ast.List(elts=parts):
            return [literal(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(literal(part) for part in parts)
        case ast.Constant() | ast.UnaryOp() | ast.Set():
            with contextlib.suppress(ValueError, TypeError):
                return ast.literal_eval(node)
    raise NotLiteralError(node)


def first_line(error: Exception) -> str:
    """Kind and first line of an error of another package; without a text, what was asserted."""
    text = str(error)
    if not text and (frames := traceback.extract_tb(error.__traceback__)):
        text = frames[-1].line or ''
    return f'{type(error).__name__}: {text}'.partition('\n')[0].rstrip(': ')


def did_you_mean(name: str, known: Mapping[str, Any] | list[str] | set[str]) -> str:
    """'; did you mean X?' or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'; did you mean {close[0]!r}?' if close else ''
