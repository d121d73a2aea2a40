"""The images of a folder, listed once, and the entries of a data set of millions."""

import hashlib
import json
import os
import secrets
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from luss_mm.datasets.image_walk import (
    IMAGE_SUFFIXES,
    find_sharing,
    label_map_name,
    size_of,
    stamp_of,
    walk_images,
)
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
        stamps: Stamps of each of these, see `stamp_of`. uint64 (F, 2).
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


SHOWN_PAIRS = 10  # in a message
BLOCK = 4096  # images that are located at once


def make_entry(image: str | os.PathLike, label_map: str | os.PathLike | None = None) -> dict:
    """What a pipeline is given of one image, with the path of its label map if it has one."""
    entry = dict(img_path=os.fspath(image), label_map=None, reduce_zero_label=False, seg_fields=[])
    if label_map is not None:
        entry['seg_map_path'] = os.fspath(label_map)
    return entry


@dataclass(frozen=True)
class Renaming:
    """How a path relative to one folder becomes one relative to the first folder it lies in.

    Attributes:
        rules: Beginnings to take off and what to put in their place; the first that fits counts.
    """

    rules: tuple[tuple[str, str], ...] = (('', ''),)

    @classmethod
    def among(cls, folders: Sequence[Path], number: int) -> 'Renaming':
        """Rules for paths below folder `number` of several, which may be nested."""
        own, rules = folders[number], []
        for folder in folders[: number + 1]:
            if own.is_relative_to(folder):
                outer = own.relative_to(folder).as_posix()
                rules.append(('', '' if outer == '.' else f'{outer}/'))
                break
            if folder.is_relative_to(own):
                rules.append((f'{folder.relative_to(own).as_posix()}/', ''))
        return cls(tuple(rules))

    def __call__(self, relative: str) -> str:
        """The other path."""
        begin, instead = next(rule for rule in self.rules if relative.startswith(rule[0]))
        return instead + relative[len(begin) :]


@dataclass(frozen=True)
class ImageSource:
    """A folder of images.

    Attributes:
        folder: Where they lie.
        index: Their paths relative to it.
        label_name: Path relative to the folder to the one that label maps are named after.
    """

    folder: Path
    index: ImageIndex
    label_name: Renaming = Renaming()


@dataclass(frozen=True)
class LabelMaps:
    """Where label maps lie.

    Attributes:
        folder: With label maps as `label_map_name` names them.
        suffix: '.png', say.
        sharing: Images whose label maps keep the suffix of the image too, see `find_sharing`.
    """

    folder: Path
    suffix: str
    sharing: frozenset[str] = frozenset()

    def path(self, name: str) -> str:
        """Label map of the image of a relative path; of an unreadable folder, that of its masks."""
        if name.endswith('/'):
            return os.path.join(self.folder, name)
        return os.path.join(self.folder, label_map_name(name, self.sharing, self.suffix))


@dataclass(frozen=True, eq=False)
class ImageEntries(Sequence[dict]):
    """Dicts of images, as mmengine's data sets hold them in lists.

    Attributes:
        sources: Folders, whose images are numbered one after another.
        label_maps: Label maps of the images; None without.
        folder_ids: Ids of category folders, which become `image_tags`; None gives none.
        rows: Numbers of the chosen images in their order, int (N,); None chooses all.
        columns: More keys of the dicts with an integer of each chosen image, int (N,).
    """

    sources: tuple[ImageSource, ...]
    label_maps: LabelMaps | None = None
    folder_ids: Mapping[str, int] | None = None
    rows: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def starts(self) -> np.ndarray:
        """Number of the first image of each source, and one beyond all. int64 (S + 1,)."""
        return np.cumsum([0, *(len(source.index) for source in self.sources)])

    def __len__(self) -> int:
        """Number of chosen images."""
        return int(self.starts[-1]) if self.rows is None else len(self.rows)

    def __getitem__(self, position: int | slice) -> 'dict | ImageEntries':
        """A new dict, or some of the images."""
        if isinstance(position, slice):
            return self.select(range(*position.indices(len(self))))
        position = range(len(self))[position]
        number, relative = self.locate(position)
        source = self.sources[number]
        image = os.path.join(source.folder, relative)
        entry = make_entry(image, self._label_path(source, relative))
        if self.folder_ids is not None:
            entry['image_tags'] = (self.folder_id(relative),)
        return entry | {name: int(values[position]) for name, values in self.columns.items()}

    def __deepcopy__(self, memo: dict) -> 'ImageEntries':
        """Itself: nothing changes it."""
        return self

    def select(self, positions: Sequence[int] | np.ndarray) -> 'ImageEntries':
        """Some of the images, in the order of their positions, negative ones from the end.

        Raises:
            IndexError: If there is no such position.
        """
        positions = np.asarray(positions, dtype=np.int64)
        rows = self.row_numbers()
        columns = {name: values[positions] for name, values in self.columns.items()}
        return replace(self, rows=rows[positions], columns=columns)

    def row_numbers(self) -> np.ndarray:
        """Same as `rows`, but never None."""
        return np.arange(len(self), dtype=np.int32) if self.rows is None else self.rows

    def numbered(self, name: str) -> 'ImageEntries':
        """The same images, whose dicts hold the present position under a name, even if selected."""
        positions = np.arange(len(self), dtype=np.int32)
        return replace(self, columns={**self.columns, name: positions})

    def without(self, images: Collection[str]) -> 'ImageEntries':
        """Without the images of some paths, as far as they are there."""
        rows = [
            start + position
            for source, start in zip(self.sources, self.starts, strict=False)
            for image in images
            if (position := _position(source, image)) is not None
        ]
        if not rows:
            return self
        return self.select(np.flatnonzero(~np.isin(self.row_numbers(), rows)))

    def locate(self, position: int) -> tuple[int, str]:
        """Number of the source of an image, and its path relative to that folder."""
        row = position if self.rows is None else self.rows[position]
        starts = self.starts
        number = int(np.searchsorted(starts, row, side='right')) - 1
        return number, self.sources[number].index[int(row - starts[number])]

    def folder_id(self, relative: str) -> int:
        """Id of the category folder that a relative path begins with."""
        return self.folder_ids[relative.partition('/')[0]]

    def located(self) -> Iterator[tuple[int, str, int]]:
        """Yield what `locate` returns, with the size in bytes, for every image in order."""
        starts = self.starts
        for start in range(0, len(self), BLOCK):
            block = slice(start, min(start + BLOCK, len(self)))
            rows = np.arange(block.start, block.stop) if self.rows is None else self.rows[block]
            numbers = np.searchsorted(starts, rows, side='right') - 1
            for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(numbers)) + 1):
                number = int(numbers[run[0]])
                index, positions = self.sources[number].index, rows[run] - starts[number]
                sizes = index.sizes[positions].tolist()
                yield from zip(repeat(number), index.names.take(positions), sizes, strict=False)

    def label_names(self) -> Iterator[str]:
        """What the label map of each image is named after, in order."""
        return (self.sources[number].label_name(path) for number, path, _ in self.located())

    def label_name(self, position: int) -> str:
        """What the label map of one image is named after."""
        number, relative = self.locate(position)
        return self.sources[number].label_name(relative)

    def with_label_maps(self, folder: Path, suffix: str) -> 'ImageEntries':
        """The same images with label maps, whose names do not depend on which are chosen."""
        sharing = find_sharing(ImageEntries(self.sources).label_names)
        return replace(self, label_maps=LabelMaps(folder, suffix, sharing))

    def label_paths(self) -> Iterator[str]:
        """Yield the label map of every image in order; nothing without label maps."""
        if self.label_maps is not None:
            yield from map(self.label_maps.path, self.label_names())

    def _label_path(self, source: ImageSource, relative: str) -> str | None:
        return self.label_maps and self.label_maps.path(source.label_name(relative))


class ImagePaths(Sequence[str]):
    """Paths of the images of any data set, each looked up when it is asked for.

    Args:
        dataset: With `get_data_info`.
    """

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def __getitem__(self, position: int) -> str:
        """Path of one image."""
        return self.dataset.get_data_info(int(range(len(self))[position]))['img_path']


def find_repeated(names: Iterable[str], count: int) -> Iterator[tuple[int, int]]:
    """Positions of names that came before, and of where they, or their 64-bit hash, came first.

    Args:
        names: As many as `count`; only their hashes are held.
        count: N.
    """
    hashes = np.fromiter(map(hash, names), np.int64, count)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(count))
    return zip(repeated.tolist(), first[inverse[repeated]].tolist(), strict=True)


def refuse_shared_label_maps(entries: Sequence[dict], label_paths: Iterable[str]) -> None:
    """Refuse two images with one label map.

    Args:
        entries: Entries of the images.
        label_paths: Their `seg_map_path` in the same order.

    Raises:
        ValueError: Naming the first pairs and the number of all.
    """
    pairs = []
    for position, first in find_repeated(label_paths, len(entries)):
        entry, owner = entries[position], entries[first]
        shared = entry['seg_map_path'] == owner['seg_map_path']  # not only a hash
        if shared and entry['img_path'] != owner['img_path']:
            pairs.append(
                f'{entry["img_path"]} and {owner["img_path"]} share the label map '
                f'{entry["seg_map_path"]}'
            )
    if pairs:
        number = f' ({SHOWN_PAIRS} of {len(pairs)} pairs)' if len(pairs) > SHOWN_PAIRS else ''
        which = 'of them' if len(pairs) == 1 else 'of each pair'
        raise ValueError(f'{"; ".join(pairs[:SHOWN_PAIRS])}{number}. Rename one {which}.')


def _position(source: ImageSource, image: str) -> int | None:
    begin = os.path.join(source.folder, '')
    return source.index.position(image[len(begin) :]) if image.startswith(begin) else None
