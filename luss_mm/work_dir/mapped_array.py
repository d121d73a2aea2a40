"""Arrays that are larger than memory, written through a memory map."""

import errno
import math
import os
import shutil
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
