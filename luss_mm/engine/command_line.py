"""Options of the tools: KEY=VALUE, and devices."""

import ast
from argparse import ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import DictAction


def device(text: str) -> str:
    """A device of torch that is there, for argparse.

    Raises:
        ArgumentTypeError: If there is none of that name.
    """
    try:
        kind, index = torch.device(text).type, torch.device(text).index or 0
    except RuntimeError as error:
        raise ArgumentTypeError(f'{text!r} is none, as cpu, cuda or cuda:1 are') from error
    if kind == 'cuda' and index >= torch.cuda.device_count():
        raise ArgumentTypeError(f'{text}: there are {torch.cuda.device_count()} GPUs here')
    return text


class OptionAction(DictAction):
    """mmengine's DictAction with dicts, and without `_` in numbers: `split=1_8` is the text '1_8'.

    A dict or a list of dicts is written as in Python. A dict is merged into the config's own; with
    '_delete_': True it takes its place: "segmenter={'_delete_': True, 'type': 'GrabCutSegmenter'}".
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the options; the parser tells of those that are none."""
        for value in values:
            key, sign, _ = value.partition('=')
            if not key or not sign:
                raise ArgumentError(self, f'{value!r}: options are KEY=VALUE')
            try:
                super().__call__(parser, namespace, [value], option_string)
            except (ArgumentTypeError, AssertionError) as error:
                raise ArgumentError(self, f'{key}: {error}') from error

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        if val.startswith(('{', '[{')):
            try:
                return ast.literal_eval(val)
            except (SyntaxError, ValueError) as error:
                message = f'{val} is no dict or list of dicts as Python writes it'
                raise ArgumentTypeError(message) from error
        parsed = DictAction._parse_iterable(val)
        return val if '_' in val and isinstance(parsed, (int, float)) else parsed
