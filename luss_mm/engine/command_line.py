"""KEY=VALUE options of the tools."""

from typing import Any

from mmengine.config import DictAction


class OptionAction(DictAction):
    """mmengine's DictAction, but a single number has no `_`: `split=1_8` stays the text '1_8'."""

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        parsed = DictAction._parse_iterable(val)
        return val if '_' in val and isinstance(parsed, (int, float)) else parsed
