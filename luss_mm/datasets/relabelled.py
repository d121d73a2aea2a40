"""Images of several data sets under label maps that a run has made for them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from mmseg.registry import DATASETS

from luss_mm.datasets.image_entries import (
    ImageEntries,
    ImageSource,
    LabelMaps,
    Renaming,
    find_repeated,
)
from luss_mm.datasets.image_index import index_of_paths
from luss_mm.datasets.indexed_dataset import IndexedDataset
from luss_mm.datasets.label_map_file import IGNORE_INDEX
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
        seed: Of the run; sample i of epoch e draws from (seed, e, i).
        ignore_index: Id of pixels that do not count.
        metainfo: Instead of that of the first part.
        **kwargs: As mmseg's BaseSegDataset: pipeline, indices, test_mode ...
    """

    def __init__(
        self,
        parts: Sequence[dict],
        data_prefix: dict,
        seed: int = 0,
        ignore_index: int = IGNORE_INDEX,
        metainfo: dict | None = None,
        **kwargs: object,
    ) -> None:
        self.parts = [DATASETS.build(dict(part, pipeline=[])) for part in parts]
        self.image_folders = [folder for part in self.parts for folder in part.image_folders]
        self.given_folders = [folder for part in self.parts for folder in part.given_folders]
        folder = data_prefix.get('seg_map_path')
        self.label_folder = Path(folder) if folder else None
        known = {k: v for k, v in self.parts[0].metainfo.items() if k in ('classes', 'palette')}
        super().__init__(
            names=None,
            seed=seed,
            ignore_index=ignore_index,
            metainfo=known | dict(metainfo or {}),
            **kwargs,
        )

    def load_data_list(self) -> ImageEntries:
        """The images part by part, of one relative path the first."""
        entries = [_entries_of(part) for part in self.parts]
        starts = np.cumsum([0, *(part.starts[-1] for part in entries)])
        rows = [start + part.row_numbers() for start, part in zip(starts, entries, strict=False)]
        label_maps = self.label_folder and LabelMaps(self.label_folder, self.seg_map_suffix)
        sources = tuple(source for part in entries for source in part.sources)
        images = ImageEntries(sources, label_maps, rows=np.concatenate(rows))
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
