"""Which parts of a piece of work its CPU time goes to."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Lock
from unittest import mock


@contextmanager
def watched(parts: Mapping[str, tuple[object, str]]) -> Iterator[Counter[str]]:
    """CPU seconds within functions, in whatever threads run them, as long as the context is open.

    Args:
        parts: Names to (class or module, name of the function in it).

    Yields:
        Names to seconds so far, those within inner watched functions included.
    """
    spent: Counter[str] = Counter()
    lock = Lock()

    def timed(name: str, function: Callable) -> Callable:
        def run(*arguments: object, **keywords: object) -> object:
            started = time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                with lock:
                    spent[name] += time.thread_time() - started

        return run

    with ExitStack() as stack:
        for name, (owner, function) in parts.items():
            replacement = timed(name, getattr(owner, function))
            stack.enter_context(mock.patch.object(owner, function, replacement))
        yield spent


def percent(spent: Mapping[str, float], total: float) -> dict[str, float]:
    """Shares of a time in percent, with what is left over.

    Args:
        spent: Names to seconds, none of them within another.
        total: Seconds.
    """
    rest = dict(rest=total - sum(spent.values()))
    return {name: round(100 * s / total, 1) for name, s in (dict(spent) | rest).items()}
