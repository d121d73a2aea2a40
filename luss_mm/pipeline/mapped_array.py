"""Arrays that are larger than memory, written through a memory map."""

import os
from pathlib import Path

import numpy as np


def create_mapped_array(path: str | Path, shape: tuple[int, ...]) -> np.memmap:
    """A new float32 `.npy` file, mapped for writing, whose whole length the disk has set aside.

    Without that, a disk that fills up would end the process by a signal (SIGBUS) at some later
    assignment.

    Args:
        path: Of the file; what is there is replaced.
        shape: Of the array.

    Raises:
        OSError: If the disk has no room; it names the file, which is removed again.
    """
    array = np.lib.format.open_memmap(path, mode='w+', dtype=np.float32, shape=shape)
    try:
        with open(path, 'r+b') as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    except OSError as error:
        os.unlink(path)
        error.filename = str(path)
        raise
    return array
