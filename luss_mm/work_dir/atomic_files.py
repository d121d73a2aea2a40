"""Files that are there wholly or not at all, also large and many ones."""

import errno
import json
import math
import os
import re
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

TEMPORARY = re.compile(r'\.[0-9a-f]{16}\.tmp(\.\w+)?')


def temporary_path(path: str | Path) -> Path:
    """A hidden name beside a path that nobody else uses, with the same suffix.

    Not made from a process id, which two machines may share, nor from the file's own name, which
    may be as long as a name can be.
    """
    path = Path(path)
    return path.with_name(f'.{secrets.token_hex(8)}.tmp{path.suffix}')


def write_atomically(path: str | Path, content: bytes, sync: bool = True) -> None:
    """Write a file so that it is there wholly or not at all, also after a crash.

    Args:
        path: Path of the file; missing folders are made.
        content: Content of the file.
        sync: Whether the file is on the disk when this returns. Without it, a machine that loses
            power (not a process that is killed) may leave an empty file, which is many times as
            fast for small ones.

    Raises:
        OSError: If it cannot be written; it names the file.
    """
    with opened_atomically(path, sync) as file:
        file.write(content)


def refuse_unwritable(path: str | Path) -> None:
    """Refuse at once what `write_atomically` would refuse after long work; makes the folder.

    Raises:
        OSError: If the path is a folder, or lies in no folder that may be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write a `.npy` file as `write_atomically` does, without a copy of the array in memory."""
    with opened_atomically(path) as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def opened_atomically(path: str | Path, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write into that gets its name when the context ends without an error.

    Args:
        path: As of `write_atomically`.
        sync: As of `write_atomically`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with open(temporary, 'xb') as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # A full disk does not say which file, and nobody looks for a temporary one.
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any, **layout: Any) -> None:
    """Write JSON; the layout is that of `json.dumps`. Errors as `write_atomically`."""
    write_atomically(path, json.dumps(content, **layout).encode())


def remove_leftovers(directory: str | Path, below: bool = True) -> int:
    """Remove the temporary files and folders that killed processes left.

    Only where nobody writes: the temporary files of a process that lives look the same.

    Args:
        directory: Nothing happens if it is not there.
        below: Also in its folders.

    Returns:
        How many were removed.
    """
    removed = 0
    for folder, folders, files in os.walk(directory):
        for name in filter(TEMPORARY.fullmatch, files):
            Path(folder, name).unlink(missing_ok=True)
            removed += 1
        for name in filter(TEMPORARY.fullmatch, folders):
            shutil.rmtree(Path(folder, name), ignore_errors=True)
            removed += 1
        folders[:] = [name for name in folders if below and not TEMPORARY.fullmatch(name)]
    return removed


def create_mapped_array(path: str | Path, shape: tuple[int, ...]) -> np.memmap:
    """A new float32 `.npy` file, mapped for writing, whose whole length the disk has set aside.

    Without that, a disk that fills up would end the process by a signal (SIGBUS) at some later
    assignment.

    Args:
        path: Path of the file; what is there is replaced.
        shape: Shape of the array.

    Raises:
        OSError: If the disk has no room; it names the file, which is removed again.
    """
    path = Path(path)
    size = 4 * math.prod(shape)
    try:
        if size > shutil.disk_usage(path.parent).free:  # not tried: it would fill the disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        array = np.lib.format.open_memmap(path, mode='w+', dtype=np.float32, shape=shape)
        with path.open('r+b') as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = str(path)
        raise
    return array


THREADS = 2
WAITING_BYTES = 64 * 2**20


class BackgroundWriter:
    """Writes arrays in threads, for writers that let go of Python's lock, as OpenCV's encoders do.

    A context: what still waits when an error leaves it is not written any more.

    Args:
        threads: That write.
        waiting_bytes: Bytes of arrays that are not written yet; beyond it `submit` waits. One array
            may be larger.
    """

    def __init__(self, threads: int = THREADS, waiting_bytes: int = WAITING_BYTES) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix='writer')
        self._most = waiting_bytes
        self._waiting: deque[tuple[Future, int]] = deque()
        self._bytes = 0

    def __enter__(self) -> 'BackgroundWriter':
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(
        self, write: Callable[[Path, np.ndarray], object], path: Path, array: np.ndarray
    ) -> None:
        """Have an array written, now or later.

        Args:
            write: Called with path and array in a thread.
            path: Path of the file; no other that waits may have it.
            array: Not to be changed any more.

        Raises:
            Exception: Whatever an earlier write raised.
        """
        while self._waiting and self._bytes + array.nbytes > self._most:
            self._wait_for_oldest()
        self._waiting.append((self._pool.submit(write, path, array), array.nbytes))
        self._bytes += array.nbytes

    def finish(self) -> None:
        """Wait until everything is written.

        Raises:
            Exception: Whatever a write raised, of several the first that was submitted.
        """
        while self._waiting:
            self._wait_for_oldest()

    def _wait_for_oldest(self) -> None:
        future, size = self._waiting.popleft()
        self._bytes -= size
        future.result()
