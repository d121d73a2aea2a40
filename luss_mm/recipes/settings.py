"""References of the form '${name}' in stage configs, resolved after the command line was read."""

import ast
import difflib
import operator
import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

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


def did_you_mean(name: str, known: Mapping[str, Any] | list[str] | set[str]) -> str:
    """'; did you mean X?' or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'; did you mean {close[0]!r}?' if close else ''
