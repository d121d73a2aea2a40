"""KEY=VALUE options of the tools."""

import ast
from argparse import ArgumentTypeError
from typing import Any

from mmengine.config import DictAction


class OptionAction(DictAction):
    """mmengine's DictAction with dicts, and without `_` in numbers: `split=1_8` is the text '1_8'.

    A dict or a list of dicts is written as in Python. A dict is merged into the config's own; with
    '_delete_': True it takes its place: "segmenter={'_delete_': True, 'type': 'GrabCutSegmenter'}".
    """

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
