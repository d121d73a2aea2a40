"""SIGTERM asks a run to stop where little is lost, as Slurm does before it kills."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import print_log

# What a shell says of a process that SIGTERM ended.
EXIT_STATUS = 128 + signal.SIGTERM

_asked = False


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends the run with EXIT_STATUS as soon as something asks `stop_if_asked`.

    A second SIGTERM ends the process at once. An error that comes after the first one, as when the
    same signal ended the loading processes or another rank, ends the run in the same way.
    """
    global _asked
    _asked = False
    before = signal.signal(signal.SIGTERM, _ask)
    children = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    except Exception as error:
        if not _asked:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        stop(f'what was in the making is lost ({reason})')
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGCHLD, children if children is not None else signal.SIG_DFL)
        _asked = False


@contextmanager
def finishing_before_interrupt() -> Iterator[None]:
    """Inside, Ctrl-C waits: torch aborts the process if writing a checkpoint is interrupted."""
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        signal.raise_signal(signal.SIGINT)


def _ask(number: int, frame: object) -> None:
    global _asked
    _asked = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Slurm tells the loading processes too. torch would raise an error for them anywhere, also
    # halfway through a step of the optimiser.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Not through the log, which may be writing a line right now.
    os.write(2, b'SIGTERM: stops after this iteration, shard or k-means; again: stops at once\n')


def stop_asked() -> bool:
    """Whether this process was asked to stop."""
    return _asked


def stop_asked_on_any_rank() -> bool:
    """The same of all ranks; collective."""
    import torch  # here, so that reading a finished run imports no torch
    from mmengine.dist import all_reduce, is_distributed

    if not is_distributed():
        return _asked
    asked = torch.tensor([int(_asked)])
    all_reduce(asked, 'max')
    return bool(asked.item())


def stop_if_asked(left: str) -> None:
    """End the run here if this process was asked to.

    Args:
        left: What is kept, for the log.

    Raises:
        SystemExit: With EXIT_STATUS.
    """
    if _asked:
        stop(left)


def stop(left: str) -> None:
    """End the run with EXIT_STATUS and say what is kept."""
    print_log(f'stopped by SIGTERM: {left}. The same command goes on from there.', 'current')
    raise SystemExit(EXIT_STATUS)
