"""Any number of images as a stream: listed lazily, loaded ahead, batched by size."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from luss_mm.datasets.image_walk import IMAGE_SUFFIXES, is_folder, size_of, unread_folder

Item = TypeVar('Item')
Loaded = TypeVar('Loaded')


def walk_images(root: str | Path) -> Iterator[str]:
    """Relative paths of all images below a folder, always in the same order.

    Only the names of one folder (and of those above it) are in memory at a time. Links to folders
    are followed, but not in circles; names that start with a dot are left out. A folder that may
    not be read counts as one bad image, whose path ends with a '/'.

    Args:
        root: A folder, or one image, whose name is then the only path.

    Raises:
        FileNotFoundError: If there is no such folder or image.
        PermissionError: If the folder itself may not be read.
        ValueError: If it is a file with another suffix, or two images of a folder differ only in
            their suffix, so that they would share outputs.
    """
    root = Path(root)
    if root.is_dir():
        yield from _walk(root, '', ())
    elif not root.exists():
        raise FileNotFoundError(f'{root}: no such image or folder.')
    elif not root.name.lower().endswith(IMAGE_SUFFIXES):
        raise ValueError(f'{root}: not an image ({", ".join(IMAGE_SUFFIXES)}).')
    else:
        yield root.name


def fingerprint_images(root: str | Path) -> tuple[int, str]:
    """Number of images below a folder, and a SHA-256 of their relative paths and sizes in bytes.

    Contents are not read: an image replaced by one of the same size goes unnoticed.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: See `walk_images`.
    """
    digest, count = hashlib.sha256(), 0
    for relative in walk_images(root):
        size = size_of(os.fspath(image_path(root, relative)))
        digest.update(os.fsencode(f'{relative}\0{size}\n'))
        count += 1
    if not count:
        raise FileNotFoundError(f'{root}: holds no image ({", ".join(IMAGE_SUFFIXES)}).')
    return count, digest.hexdigest()


def image_path(root: str | Path, relative: str) -> Path:
    """Path of an image of `walk_images`."""
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


def _walk(folder: Path, relative: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        status = folder.stat()
        names, folders = _listed(folder)
    except PermissionError:
        if not relative:
            raise unread_folder(folder) from None
        yield relative
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link back to a folder that this one lies in
        return
    _refuse_shared_outputs(folder, names)
    for name in names:
        yield f'{relative}{name}'
    del names
    for name in folders:
        yield from _walk(folder / name, f'{relative}{name}/', (*above, identity))


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted names of the images and of the folders right below a folder."""
    names, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            if is_folder(entry):
                folders.append(entry.name)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                names.append(entry.name)
    return sorted(names), sorted(folders)


def _refuse_shared_outputs(folder: Path, names: list[str]) -> None:
    owners: dict[str, str] = {}
    for name in names:
        owner = owners.setdefault(os.path.splitext(name)[0], name)
        if owner != name:
            raise ValueError(
                f'{folder / name} and {owner} would share one label map. Rename one of them.'
            )
