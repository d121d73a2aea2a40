"""Files written by a few threads while the main thread goes on."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

THREADS = 2
WAITING_BYTES = 64 * 2**20


class BackgroundWriter:
    """Writes arrays in threads, for writers that let go of Python's lock, as OpenCV's encoders do.

    A context: what still waits when an error leaves it is not written any more.

    Args:
        threads: That write.
        waiting_bytes: Of arrays that are not written yet; beyond it `submit` waits. One array may
            be larger.
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
            path: Of the file; no other that waits may have it.
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
