"""All images below a folder as a few arrays, which processes share as one memory-mapped file.

An image costs about 50 bytes: the characters of its path and two numbers. A list of dicts costs
several hundred, in every process, and has to be made again in each.
"""

import hashlib
import json
import os
import secrets
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from luss_mm.datasets.image_walk import IMAGE_SUFFIXES, size_of, stamp_of, walk_images
from luss_mm.work_dir.atomic_files import opened_atomically

FORMAT = 2  # also of the rule for hidden names
SHOWN_SUFFIXES = 5  # in a log line
ALIGNMENT = 64  # of the header, so that the numbers behind it lie at multiples of their size


@dataclass(frozen=True, eq=False)
class PackedNames(Sequence[str]):
    """Strings one behind the other.

    Attributes:
        characters: Their bytes, uint8.
        bounds: Name i is characters[bounds[i]:bounds[i + 1]]. int64 (N + 1,).
    """

    characters: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        """Number of strings."""
        return len(self.bounds) - 1

    def __getitem__(self, position: int) -> str:
        """One string; only integers."""
        position = range(len(self))[position]  # counts negative ones, refuses those outside
        start, stop = self.bounds[position], self.bounds[position + 1]
        return os.fsdecode(self.characters[start:stop].tobytes())

    def take(self, positions: np.ndarray) -> list[str]:
        """Several strings at once, which is quicker."""
        view = memoryview(self.characters)
        starts, stops = self.bounds[positions].tolist(), self.bounds[positions + 1].tolist()
        return [os.fsdecode(bytes(view[i:j])) for i, j in zip(starts, stops, strict=True)]


class ImageIndex(Sequence[str]):
    """Relative paths of the images below a folder, and their sizes.

    Pickled as the place of its file, if that is still there, so that workers map what their parent
    maps.

    Args:
        names: The paths.
        sizes: Bytes of each image, -1 for a link to nowhere or to itself. int64 (N,).
        folders: Relative paths of the folders that were looked into, '' or with a '/' at the end.
        stamps: Of each of these, see `stamp_of`. uint64 (F, 2).
        origin: Path and token of the file that the arrays are mapped from.
    """

    def __init__(
        self,
        names: PackedNames,
        sizes: np.ndarray,
        folders: PackedNames,
        stamps: np.ndarray,
        origin: tuple[str, str] | None = None,
    ) -> None:
        self.names = names
        self.sizes = sizes
        self.folders = folders
        self.stamps = stamps
        self.origin = origin

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, position: int) -> str:
        """Relative path of an image."""
        return self.names[position]

    def __reduce__(self) -> tuple:
        """Place of the file, or the arrays where there is none."""
        if self._is_in_place():
            return _map_again, self.origin
        return ImageIndex, (self.names, self.sizes, self.folders, self.stamps)

    def __deepcopy__(self, memo: dict) -> 'ImageIndex':
        """Itself: nothing changes it."""
        return self

    def position(self, relative: str) -> int | None:
        """Position of a path among sorted ones, or None."""
        position = bisect_left(self, relative)
        return position if position < len(self) and self[position] == relative else None

    def top_folders(self) -> Iterator[tuple[str, str]]:
        """First part of the sorted paths, each once, with the first path that begins with it."""
        position = 0
        while position < len(self):
            path = self[position]
            part = path.partition('/')[0]
            yield part, path
            beyond = f'{part}{chr(ord("/") + 1)}' if part != path else f'{path}\0'
            position = bisect_left(self, beyond, lo=position + 1)

    def find_change(self, folder: str | Path) -> str | None:
        """A folder that is not what it was, or None; files that changed in place go unnoticed."""
        for name, stamp in zip(self.folders, self.stamps.tolist(), strict=True):
            try:
                found = stamp_of(os.stat(os.path.join(folder, name)))
            except OSError:
                found = None
            if found != tuple(stamp):
                return os.path.join(folder, name)
        return None

    def save(self, path: Path) -> None:
        """Write `.npy` arrays one behind the other into one file, wholly or not at all."""
        header = dict(format=FORMAT, token=secrets.token_hex(8), suffixes=IMAGE_SUFFIXES)
        text = json.dumps(header).encode()
        text += b' ' * (-len(text) % ALIGNMENT)
        with opened_atomically(path) as file:
            for values in (np.frombuffer(text, np.uint8), *self._arrays()):
                np.lib.format.write_array(file, values, version=(1, 0), allow_pickle=False)

    def _is_in_place(self) -> bool:
        try:
            return self.origin is not None and open_index(self.origin[0]).origin == self.origin
        except (OSError, ValueError):  # gone, or of another version
            return False

    def _arrays(self) -> tuple[np.ndarray, ...]:
        """In the order of the file: those of bytes are the last, for the others' alignment."""
        numbers = self.sizes, self.names.bounds, self.folders.bounds, self.stamps
        return *numbers, self.names.characters, self.folders.characters


def scan_images(folder: str | Path, others: Counter[str] | None = None) -> ImageIndex:
    """Index of all images below a folder, in the order of their sorted relative paths.

    Args:
        folder: To look into, see `walk_images`.
        others: Counts the suffixes of files that are passed over, if it is given.

    Raises:
        FileNotFoundError: If there are none.
    """
    folders, stamps = [], []
    others = Counter() if others is None else others
    paths = walk_images(folder, folders, stamps, others)
    names, sizes = _pack((path, size_of(os.path.join(folder, path))) for path in paths)
    if not len(names):
        raise FileNotFoundError(
            f'{folder}: holds no image ({", ".join(IMAGE_SUFFIXES)}){_told(others)}.'
        )
    packed_folders, _ = _pack((name, 0) for name in folders)
    return ImageIndex(names, sizes, packed_folders, np.array(stamps, np.uint64))


def index_of_paths(folder: str | Path, paths: Iterable[str]) -> ImageIndex:
    """Index of given images in the given order, relative to a folder that is not looked into."""
    names, sizes = _pack((path, size_of(os.path.join(folder, path))) for path in paths)
    none, _ = _pack(())
    return ImageIndex(names, sizes, none, np.empty((0, 2), np.uint64))


def kept_index(directory: str | Path, folder: str | Path) -> ImageIndex:
    """Index of a folder from the file that keeps it, which is made first unless it is there.

    It is made again, with a log line, if an image or a folder came or went since. If it cannot be
    written, a warning says so and the index is this process's own.

    Args:
        directory: Gets one file a folder; itself made if its parent is there.
        folder: With the images.

    Raises:
        FileNotFoundError: If the folder holds no image.
    """
    place = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()[:12]
    path = Path(directory, f'{place}.index')
    if path.is_file():
        if index := _current_index(path, folder):
            return index
    started = time.perf_counter()
    others: Counter[str] = Counter()
    index = scan_images(folder, others)
    try:
        path.parent.mkdir(exist_ok=True)
        index.save(path)
    except OSError as error:
        print_log(f'{path}: the list of images is not kept ({error})', 'current')
        return index
    seconds = time.perf_counter() - started
    print_log(
        f'{folder}: {len(index):,} images, listed in {seconds:.1f} s{_told(others)}', 'current'
    )
    return open_index(path)


def open_index(path: str | Path) -> ImageIndex:
    """Map the arrays of a file.

    Raises:
        ValueError: If it is no such file, or cut short.
    """
    content = np.asarray(np.memmap(path, np.uint8, mode='r'))
    with open(path, 'rb') as file:
        text, sizes, bounds, folder_bounds, stamps, characters, folder_characters = (
            _next_array(file, content) for _ in range(7)
        )
    header = json.loads(text.tobytes())
    if header['format'] != FORMAT or header['suffixes'] != list(IMAGE_SUFFIXES):
        raise ValueError(f'{path}: of another version')
    names, folders = PackedNames(characters, bounds), PackedNames(folder_characters, folder_bounds)
    if len(names) != len(sizes) or len(folders) != len(stamps):
        raise ValueError(f'{path}: its parts do not fit together')
    return ImageIndex(names, sizes, folders, stamps, (str(path), header['token']))


def _told(others: Counter[str]) -> str:
    """What is passed over, for a message; '' if there is nothing."""
    if not others:
        return ''
    shown = ', '.join(f'{count:,} {name}' for name, count in others.most_common(SHOWN_SUFFIXES))
    more = ' ...' if len(others) > SHOWN_SUFFIXES else ''
    return f'; passed over, as they are no images: {shown}{more}'


def _pack(items: Iterable[tuple[str, int]]) -> tuple[PackedNames, np.ndarray]:
    characters, bounds, sizes = bytearray(), array('q', [0]), array('q')
    for name, size in items:
        characters += os.fsencode(name)
        bounds.append(len(characters))
        sizes.append(size)
    names = PackedNames(np.frombuffer(characters, np.uint8), np.frombuffer(bounds, np.int64))
    return names, np.frombuffer(sizes, np.int64)


def _current_index(path: Path, folder: str | Path) -> ImageIndex | None:
    try:
        index = open_index(path)
    except (OSError, ValueError, KeyError) as error:
        print_log(f'{path}: unusable ({error}), {folder} is listed again', 'current')
        return None
    change = index.find_change(folder)
    if change is not None:
        print_log(f'{change}: changed since its images were listed, they are again', 'current')
        return None
    return index


def _next_array(file, content: np.ndarray) -> np.ndarray:
    """The next array of a file, as a view of its content; nothing is unpickled."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError('an array of another version')
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError('an array of Python objects')
    start = file.tell()
    stop = start + dtype.itemsize * int(np.prod(shape))
    if stop > len(content):
        raise ValueError('cut short')
    file.seek(stop)
    return content[start:stop].view(dtype).reshape(shape)


def _map_again(path: str, token: str) -> ImageIndex:
    index = open_index(path)
    if index.origin != (path, token):
        raise RuntimeError(
            f'{path} was replaced while this process started, as the folder changed. Start again.'
        )
    return index
