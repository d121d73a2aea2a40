"""Data sets made of others: labelled and unlabelled images, and images with other labels."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from luss_mm.datasets.image_index import (
    ImageEntries,
    ImageSource,
    Renaming,
    find_repeated,
    index_of_paths,
)
from luss_mm.datasets.image_walk import find_sharing, label_map_name
from luss_mm.datasets.luss_dataset import IndexedDataset
from luss_mm.datasets.samplers import EpochIndex
from luss_mm.datasets.seeded_dataset import SeededDataset


@DATASETS.register_module()
class RelabelledDataset(IndexedDataset):
    """The images of several data sets, each with a label map of one folder.

    Of images with one relative path the first counts, as the label maps know only one: `train-semi`
    may hold copies of images of `train`.

    Args:
        parts: Configs of the data sets; their masks, tags and pipelines are left aside.
        data_prefix: `seg_map_path`: folder with the label maps `<relative path without
            suffix>.png` in the ImageNet-S coding, or '' for none. They may be made later.
        metainfo: Instead of that of the first part.
        **kwargs: As `SeededDataset`.
    """

    def __init__(
        self,
        parts: Sequence[dict],
        data_prefix: dict,
        metainfo: dict | None = None,
        **kwargs: object,
    ) -> None:
        self.parts = [DATASETS.build(dict(part, pipeline=[])) for part in parts]
        self.image_folders = [folder for part in self.parts for folder in part.image_folders]
        self.given_folders = [folder for part in self.parts for folder in part.given_folders]
        folder = data_prefix.get('seg_map_path')
        self.label_folder = Path(folder) if folder else None
        known = {k: v for k, v in self.parts[0].metainfo.items() if k in ('classes', 'palette')}
        super().__init__(names=None, metainfo=known | dict(metainfo or {}), **kwargs)

    def load_data_list(self) -> ImageEntries:
        """The images part by part, of one relative path the first."""
        entries = [_entries_of(part) for part in self.parts]
        starts = np.cumsum([0, *(part.starts[-1] for part in entries)])
        rows = [start + part.row_numbers() for start, part in zip(starts, entries, strict=False)]
        sources = tuple(source for part in entries for source in part.sources)
        images = ImageEntries(sources, rows=np.concatenate(rows))
        if self.label_folder is not None:
            images = images.with_label_maps(self.label_folder, self.seg_map_suffix)
        kept = np.ones(len(images), dtype=bool)
        for position, first in find_repeated(images.label_names(), len(images)):
            kept[position] = images.label_name(position) != images.label_name(first)
        return images.select(np.flatnonzero(kept))


def _entries_of(part: SeededDataset) -> ImageEntries:
    """Images of a data set, without its label maps and tags."""
    if isinstance(part, IndexedDataset):
        folders, entries = part.image_folders, part.data_list
        sources = [
            replace(source, label_name=Renaming.among(folders, number))
            for number, source in enumerate(entries.sources)
        ]
        return ImageEntries(tuple(sources), rows=entries.rows)
    (folder,) = part.image_folders
    index = index_of_paths(folder, map(part.relative_path, range(len(part))))
    return ImageEntries((ImageSource(folder, index),))


@DATASETS.register_module()
class SemiDataset(Dataset):
    """The images of a labelled data set, then those of an unlabelled one.

    Both come with pipelines of their own. Which is drawn when is the matter of `SemiSampler`.

    Args:
        labelled: Config of a data set whose samples are seeded by epoch, as `LUSSDataset` or
            `ImageListDataset`.
        unlabelled: The same.
        revisit_labelled: Whether the labelled images are also among the unlabelled ones, behind
            them, with the pipeline of these and their masks (as Learning Pseudo Labels has it).

    Attributes:
        parts: Both data sets, and the labelled one again if it is revisited.
        metainfo: Metainfo of the labelled one.
    """

    def __init__(self, labelled: dict, unlabelled: dict, revisit_labelled: bool = False) -> None:
        configs = [labelled, unlabelled]
        if revisit_labelled:
            configs.append(dict(labelled, pipeline=unlabelled.get('pipeline', [])))
        self.parts = tuple(DATASETS.build(config) for config in configs)
        self.metainfo = self.parts[0].metainfo

    @property
    def num_labelled(self) -> int:
        """Number of labelled images; the others are unlabelled."""
        return len(self.parts[0])

    @property
    def num_unlabelled(self) -> int:
        """Number of unlabelled images."""
        return sum(len(part) for part in self.parts[1:])

    def __len__(self) -> int:
        """Number of labelled and unlabelled images."""
        return self.num_labelled + self.num_unlabelled

    def __getitem__(self, index: int) -> dict:
        """Sample as drawn in the pass of an `EpochIndex` (see SemiSampler), else drawn afresh.

        Raises:
            IndexError: If there is no such sample.
        """
        part, position = self._locate(index)
        if isinstance(index, EpochIndex):
            # Epochs of its own for each part: image i of all parts draws otherwise.
            position = EpochIndex(position, len(self.parts) * index.epoch + part)
        return self.parts[part][position]

    def get_data_info(self, index: int) -> dict:
        """Entry of an image, labelled ones first."""
        part, position = self._locate(index)
        return self.parts[part].get_data_info(position)

    def relative_path(self, index: int) -> str:
        """Path of an image relative to its image folder, with '/' between the parts."""
        part, position = self._locate(index)
        return self.parts[part].relative_path(position)

    def label_map_name(self, index: int) -> str:
        """Relative path of the label map that is made of an image."""
        return label_map_name(self.relative_path(index), self._sharing)

    def fingerprint(self) -> str:
        """SHA-256 of all fingerprints."""
        text = '\n'.join(part.fingerprint() for part in self.parts)
        return hashlib.sha256(text.encode()).hexdigest()

    def label_paths(self) -> Iterator[str]:
        """Where the label maps of the images lie, of those that have one."""
        return chain.from_iterable(part.label_paths() for part in self.parts)

    @cached_property
    def _sharing(self) -> frozenset[str]:
        return find_sharing(lambda: chain.from_iterable(p.all_paths() for p in self.parts))

    def _locate(self, position: int) -> tuple[int, int]:
        """Which part an image belongs to and its position there; negative ones from the end."""
        position = range(len(self))[position]
        part = 0
        while position >= len(self.parts[part]):
            position -= len(self.parts[part])
            part += 1
        return part, position
