"""How far a long loop is and how long it will still take."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar('Item')
SECONDS_BETWEEN = (0.5, 30.0)  # between lines: on a terminal, in a log file


def with_time_left(items: Iterable[Item], total: int, name: str) -> Iterator[Item]:
    """Pass items on and write `name: 3,000 of 12,419, 40 s left` to the standard error.

    Args:
        items: What is worked through.
        total: How many they are, as far as known.
        name: Of the work.
    """
    on_terminal = sys.stderr.isatty()
    interval = SECONDS_BETWEEN[0 if on_terminal else 1]
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= interval:
            left = (now - started) / done * max(total - done, 0)
            line = f'{name}: {done:,} of {total:,}, {_duration(left)} left'
            sys.stderr.write(f'\r{line:<79}' if on_terminal else f'{line}\n')
            sys.stderr.flush()
            last = now
    if on_terminal and last != started:
        sys.stderr.write(f'\r{"":<79}\r')


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes} min' if hours else f'{minutes} min {seconds} s'
