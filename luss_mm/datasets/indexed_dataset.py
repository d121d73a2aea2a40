"""What data sets share whose images come from an index of folders."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from luss_mm.datasets.image_entries import ImageEntries, Renaming
from luss_mm.datasets.image_walk import size_of
from luss_mm.datasets.seeded_dataset import SeededDataset

LINES = 4096  # that are hashed at once


class IndexedDataset(SeededDataset):
    """Images whose dicts are made when they are asked for; see `ImageEntries`.

    Subclasses return `ImageEntries` from `load_data_list`, with one source for each of their
    `image_folders`. mmengine's `serialize_data` has no effect: there is nothing to be serialized.
    """

    data_list: ImageEntries

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs | dict(serialize_data=False))

    def relative_path(self, index: int) -> str:
        """Path of an image relative to its image folder, with '/' between the parts."""
        self.full_init()
        index = index if self.bad_images is None else self.bad_images.stand_in(index)
        number, relative = self.data_list.locate(index)
        return self._renamings[number](relative)

    def all_paths(self) -> Iterator[str]:
        """Relative paths of all images below the folders, whichever are chosen."""
        self.full_init()
        pairs = zip(self.data_list.sources, self._renamings, strict=True)
        return ImageEntries(tuple(replace(s, label_name=name) for s, name in pairs)).label_names()

    def fingerprint(self) -> str:
        """SHA-256 of the relative paths, sizes and tags of all images and the sizes of given masks.

        Sizes are those when the images were listed. Contents are not read: an image replaced by one
        of the same size goes unnoticed. Label maps elsewhere are not counted, since the run itself
        makes them.
        """
        self.full_init()
        digest, lines = hashlib.sha256(), []
        for line in self._fingerprint_lines():
            lines.append(line)
            if len(lines) == LINES:
                digest.update(os.fsencode(''.join(lines)))
                lines.clear()
        digest.update(os.fsencode(''.join(lines)))
        return digest.hexdigest()

    def label_paths(self) -> Iterator[str]:
        """Where the label maps of the images lie, of those that have one."""
        self.full_init()
        return self.data_list.label_paths()

    def _fingerprint_lines(self) -> Iterator[str]:
        entries = self.data_list
        masks = entries.label_maps if self._may_have_given_masks() else None
        for number, relative, size in entries.located():
            yield f'{self._renamings[number](relative)}\0{size}\n'
            if entries.folder_ids is not None:
                yield f'{(entries.folder_id(relative),)}\n'
            if masks is not None:
                path = masks.path(entries.sources[number].label_name(relative))
                if self._is_given(path) and (mask_size := size_of(path)) >= 0:
                    yield f'{mask_size}\n'

    @cached_property
    def _renamings(self) -> list[Renaming]:
        return [Renaming.among(self.image_folders, n) for n in range(len(self.image_folders))]

    def _may_have_given_masks(self) -> bool:
        maps = self.data_list.label_maps
        return maps is not None and any(
            maps.folder.is_relative_to(given) or given.is_relative_to(maps.folder)
            for given in self.given_folders
        )

    def _get_unserialized_subset(self, indices: Sequence[int] | int) -> ImageEntries:
        """Of mmengine, which would make a list of dicts."""
        if isinstance(indices, Sequence):
            return self.data_list.select(indices)
        return super()._get_unserialized_subset(indices)
