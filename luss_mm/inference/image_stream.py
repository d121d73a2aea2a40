"""Any number of images as a stream: listed lazily, loaded ahead, batched by size."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from luss_mm.datasets import image_walk
from luss_mm.datasets.image_walk import IMAGE_SUFFIXES, is_image, size_of

Item = TypeVar('Item')
Loaded = TypeVar('Loaded')


def input_images(root: str | Path) -> Iterator[str]:
    """Relative paths of all images below a folder, or of a single one; see `image_walk`.

    Only the names of one folder (and of those above it) are in memory at a time.

    Args:
        root: A folder, or one image, whose name is then the only path.

    Raises:
        FileNotFoundError: If there is no such folder or image.
        PermissionError: If the folder itself may not be read.
        ValueError: If it is a file with another suffix.
    """
    root = Path(root)
    if root.is_dir():
        yield from image_walk.walk_images(root)
    elif not root.exists():
        raise FileNotFoundError(f'{root}: no such image or folder.')
    elif not is_image(root.name):
        raise ValueError(f'{root}: not an image ({", ".join(IMAGE_SUFFIXES)}).')
    else:
        yield root.name


def fingerprint_images(root: str | Path) -> tuple[int, str]:
    """Number of images below a folder, and a SHA-256 of their relative paths and sizes in bytes.

    Contents are not read: an image replaced by one of the same size goes unnoticed.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: See `input_images`.
    """
    digest, count = hashlib.sha256(), 0
    for relative in input_images(root):
        size = size_of(os.fspath(image_path(root, relative)))
        digest.update(os.fsencode(f'{relative}\0{size}\n'))
        count += 1
    if not count:
        raise FileNotFoundError(f'{root}: holds no image ({", ".join(IMAGE_SUFFIXES)}).')
    return count, digest.hexdigest()


def image_path(root: str | Path, relative: str) -> Path:
    """Path of an image of `input_images`."""
    return Path(root, relative) if Path(root).is_dir() else Path(root)


def shards(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive items in lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while shard := list(islice(iterator, size)):
        yield shard


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], workers: int, ahead: int
) -> Iterator[Loaded]:
    """Load items in threads, in their order, a bounded number before they are asked for.

    Args:
        items: Taken one by one, `ahead` at most before their turn.
        load: Called in a thread. Decoding and resizing by OpenCV run beside each other there.
        workers: Threads.
        ahead: Items that are loaded or being loaded.
    """
    with ThreadPoolExecutor(workers) as pool:
        iterator = iter(items)
        waiting = deque(pool.submit(load, item) for item in islice(iterator, ahead))
        try:
            while waiting:
                loaded = waiting.popleft().result()
                waiting.extend(pool.submit(load, item) for item in islice(iterator, 1))
                yield loaded
        finally:
            for future in waiting:
                future.cancel()


def batches_of_equal_size(
    samples: Iterable[Item], shape: Callable[[Item], tuple[int, ...]], batch_size: int, window: int
) -> Iterator[list[Item]]:
    """Group samples of one shape, so that a batch needs no padding.

    Args:
        samples: In any order of shapes.
        shape: Of a sample.
        batch_size: Samples of a batch at most.
        window: Samples that wait for others of their shape at most; then the fullest group goes.

    Yields:
        Every sample once.
    """
    waiting: dict[tuple[int, ...], list[Item]] = {}
    count = 0
    for sample in samples:
        key = tuple(shape(sample))
        waiting.setdefault(key, []).append(sample)
        count += 1
        if len(waiting[key]) < batch_size and count < window:
            continue
        fullest = max(waiting, key=lambda k: len(waiting[k]))
        batch = waiting.pop(fullest)
        count -= len(batch)
        yield batch
    yield from waiting.values()
