"""What a pipeline is given of each image, made from an index when it is asked for."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path

import numpy as np

from luss_mm.datasets.image_index import ImageIndex
from luss_mm.datasets.image_walk import find_sharing, label_map_name

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
        """Of paths below folder `number` of several, which may lie in one another."""
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
        """Of the image of a relative path; for a folder that may not be read, that of its masks."""
        if name.endswith('/'):
            return os.path.join(self.folder, name)
        return os.path.join(self.folder, label_map_name(name, self.sharing, self.suffix))


@dataclass(frozen=True, eq=False)
class ImageEntries(Sequence[dict]):
    """Dicts of images, as mmengine's data sets hold them in lists.

    Attributes:
        sources: Folders, whose images are numbered one after another.
        label_maps: Of the images; None without.
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
        """As `rows`, also where all are chosen."""
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
        """As `locate`, with the size in bytes, of every image in order."""
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
        """Of every image in order; none without label maps."""
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
        """Of one image."""
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
        entries: Of the images.
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
