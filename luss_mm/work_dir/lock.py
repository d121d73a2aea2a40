"""One run at a time in a work directory."""

import errno
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import print_log

from luss_mm.work_dir.artifact import decide_on_main

LOCK = '.lock'
HELD = (errno.EAGAIN, errno.EACCES)  # what systems say where another process has the lock
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


class WorkDirInUseError(RuntimeError):
    """Another run works in the directory."""


@contextmanager
def locked_work_dir(work_dir: str | Path) -> Iterator[None]:
    """Hold a work directory; collective, rank 0 holds it for all ranks.

    The kernel gives the lock back when the process ends, however it ends, so a killed run leaves
    nothing to clean up. The file stays and tells who was last.

    Over NFS the lock holds between machines as far as the server's lock service does (NFS 4, or
    NFS 3 without `nolock`), on Lustre with the mount option `flock`. A file system without locks
    is said in the log, and nothing is locked.

    Args:
        work_dir: Made if it is not there.

    Raises:
        WorkDirInUseError: On all ranks, naming host, process and start of the other run.
    """
    descriptors: list[int] = []

    def take() -> str | None:
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        descriptors.append(os.open(Path(work_dir, LOCK), os.O_RDWR | os.O_CREAT, 0o666))
        return _take(descriptors[0], Path(work_dir))

    try:
        if holder := decide_on_main(take):
            raise WorkDirInUseError(holder)
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _take(descriptor: int, work_dir: Path) -> str | None:
    """Take the lock, or say who has it."""
    try:
        # Of this process alone: flock's would live on in loading processes that outlive a kill.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return f'{work_dir}: {_holder(descriptor)} works there. {_FIX}'
        if error.errno not in WITHOUT_LOCKS:
            raise
        print_log(
            f'{work_dir}: this file system has no locks ({os.strerror(error.errno)}). Nothing '
            'keeps a second run out of this directory.',
            logger='current',
        )
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(_this_run()).encode(), 0)
    return None


_FIX = 'Wait for it, end it, or set another --work-dir.'


def _this_run() -> dict[str, str | int]:
    return dict(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=time.strftime('%Y-%m-%d %H:%M:%S %z'),
        command=shlex.join(sys.argv),
    )


def _holder(descriptor: int) -> str:
    try:
        run = json.loads(os.pread(descriptor, 65536, 0))
        return f'process {run["pid"]} on {run["host"]}, started {run["started"]},'
    except (ValueError, KeyError, TypeError):  # it has the lock, but has not written yet
        return 'another run, which has just started,'
