"""Options of the tools: KEY=VALUE, and devices."""

import ast
from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import Any

from luss_mm.recipes.setting_types import read_setting
from luss_mm.recipes.settings import SettingsError

BLOCKS = ('{', '[{', 'dict(', '[dict(')  # how a dict or a list of dicts begins


def device(text: str) -> str:
    """A device of torch that is there, for argparse.

    Raises:
        ArgumentTypeError: If there is none of that name.
    """
    import torch

    try:
        kind, index = torch.device(text).type, torch.device(text).index or 0
    except RuntimeError as error:
        raise ArgumentTypeError(f'{text!r} is none, as cpu, cuda or cuda:1 are') from error
    if kind == 'cuda' and index >= torch.cuda.device_count():
        raise ArgumentTypeError(f'{text}: there are {torch.cuda.device_count()} GPUs here')
    return text


class OptionAction(Action):
    """KEY=VALUE, each read as the type of the setting says; the other keys as mmengine reads them.

    Unlike with mmengine, `_` stays in numbers, so that `split=1_8` is a text, and a dict or a list
    of dicts is written as in Python. A dict is merged into the config's own; with '_delete_': True
    it takes its place: "segmenter={'_delete_': True, 'type': 'GrabCutSegmenter'}".
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the options; the parser tells of those that are none."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for value in values:
            key, sign, text = value.partition('=')
            if not key or not sign:
                raise ArgumentError(self, f'{value!r}: options are KEY=VALUE')
            try:
                options[key] = _read_option(key, text)
            except SettingsError as error:
                raise ArgumentError(self, str(error)) from error
            except RecursionError as error:  # of mmengine's reader, at brackets within a text
                raise ArgumentError(self, f'{key}: {text!r} cannot be read') from error
            except (ArgumentTypeError, AssertionError) as error:
                raise ArgumentError(self, f'{key}: {error}') from error
        setattr(namespace, self.dest, options)


def _read_option(key: str, text: str) -> Any:
    try:
        return read_setting(key, text)
    except KeyError:
        pass
    if text.startswith(BLOCKS):
        return _read_block(text)
    from mmengine.config import DictAction

    parsed = DictAction._parse_iterable(text)
    return text if '_' in text and isinstance(parsed, (int, float)) else parsed


def _read_block(text: str) -> Any:
    """Dicts, lists and what they hold, as Python writes them, `dict(a=1)` included.

    Raises:
        ArgumentTypeError: If it is anything else.
    """
    try:
        return _literal(ast.parse(text, mode='eval').body)
    except (SyntaxError, ValueError) as error:
        message = f'{text} is no dict or list of dicts as Python writes it'
        raise ArgumentTypeError(message) from error


def _literal(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name('dict'), args=[], keywords=keywords):
            if all(keyword.arg for keyword in keywords):
                return {keyword.arg: _literal(keyword.value) for keyword in keywords}
        case ast.Dict(keys=keys, values=values) if all(keys):
            return {ast.literal_eval(k): _literal(v) for k, v in zip(keys, values, strict=True)}
        case ast.List(elts=parts):
            return [_literal(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_literal(part) for part in parts)
    return ast.literal_eval(node)
