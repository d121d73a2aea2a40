"""What becomes of an output that was made with other settings: made anew, kept, or a stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

RULES = ('anew', 'keep', 'stop')
SHOWN = 5  # differences in a message of one line
_rule: ContextVar[str] = ContextVar('on_change', default='anew')


class ChangedOutputError(ValueError):
    """An output was made or begun with other settings, and the rule is to stop.

    Args:
        output: Its path.
        how: 'made' or 'begun', and with what.
        changes: What differs, see `explain_difference`.
        mends: What can be done besides going back to what it was.
    """

    def __init__(self, output: Path, how: str, changes: list[str], mends: str) -> None:
        more = f'; {len(changes) - SHOWN} more' if len(changes) > SHOWN else ''
        listed = f' ({"; ".join(changes[:SHOWN])}{more})' if changes else ''
        super().__init__(f'{output} was {how}{listed}. {mends}')


@contextmanager
def on_change(rule: str) -> Iterator[None]:
    """Decide for all outputs that are asked for in this context.

    Args:
        rule: 'anew' makes anew what a change touches and keeps the old output beside it; 'keep'
            goes on with finished outputs as they are; 'stop' raises `ChangedOutputError` before
            anything is done.

    Raises:
        ValueError: If there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f'on_change is one of {", ".join(RULES)}, not {rule!r}')
    token = _rule.set(rule)
    try:
        yield
    finally:
        _rule.reset(token)


def rule_on_change() -> str:
    """The rule of this context."""
    return _rule.get()


def explain_difference(old: Any, new: Any, name: str = '') -> list[str]:
    """What differs between two nested settings, a line `key: old -> new` each."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted({*old, *new}):
            inner = f'{name}.{key}' if name else str(key)
            lines += explain_difference(old.get(key), new.get(key), inner)
        return lines
    return [] if old == new else [f'{name}: {_short(old)} -> {_short(new)}']


def _short(value: Any) -> str:
    text = 'nothing' if value is None else str(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
