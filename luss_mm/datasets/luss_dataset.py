"""Data sets of folders: images, label maps beside them, class labels of earlier steps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.registry import DATASETS

from luss_mm.datasets.image_index import (
    ImageEntries,
    ImageIndex,
    ImageSource,
    Renaming,
    kept_index,
    refuse_shared_label_maps,
    scan_images,
)
from luss_mm.datasets.image_walk import category_names, find_classes, size_of
from luss_mm.datasets.seeded_dataset import SeededDataset
from luss_mm.functional.sample_selection import select_small_losses


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

    def label_paths(self) -> Iterator[str]:
        """Where the label maps of the images lie, of those that have one."""
        self.full_init()
        return self.data_list.label_paths()

    def _fingerprint_lines(self) -> Iterator[str]:
        """Sizes are those when the images were listed."""
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
        """Select entries; mmengine's own method would make a list of dicts."""
        if isinstance(indices, Sequence):
            return self.data_list.select(indices)
        return super()._get_unserialized_subset(indices)


@DATASETS.register_module()
class LUSSDataset(IndexedDataset):
    """Images below one or several folders, in the order of their sorted relative paths.

    Category folders are optional and never reach the pipeline except as part of the file's path,
    unless `tags` asks for them: ids come from the masks, names from `categories`.

    Args:
        data_root: Folder of the data set.
        data_prefix: `img_path`: folder below data_root, or a list of folders that are read one
            after another; `seg_map_path`: folder with the masks, named by `label_map_name`, in the
            ImageNet-S coding, or '' for an unlabelled split, which needs no mask files. Absolute
            paths are taken as they are.
        categories: Names of the ids 1..K; 'folders' takes the category folders, see
            `category_names`; None leaves the ids nameless.
        tags: 'folders' gives each image the id of its category folder as `image_tags`: ids are
            those of `category_names`, unless metainfo has `wnids`. None gives none.
        image_index: Folder that keeps the list of the images, see `kept_index`, so that other
            processes map it instead of listing them again. Whoever gives it takes the sizes in the
            fingerprint from then. None lists them here.
        **kwargs: As `SeededDataset`.

    Raises:
        FileNotFoundError: If a folder is missing or holds no images.
        ValueError: If images of two folders would share one label map, `tags` asks for the category
            folder of an image that lies in none, or `classes.txt` does not fit the folders.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: dict | None = None,
        categories: Sequence[str] | str | None = None,
        tags: str | None = None,
        image_index: str | None = None,
        **kwargs: object,
    ) -> None:
        prefix = dict(img_path='train', seg_map_path='') | dict(data_prefix or {})
        folders = prefix['img_path']
        folders = [folders] if isinstance(folders, str) else list(folders)
        self.root = data_root
        self.image_folders = [Path(data_root, folder) for folder in folders]
        self.label_folder = (
            Path(data_root, prefix['seg_map_path']) if prefix['seg_map_path'] else None
        )
        self.given_folders = [folder.parent for folder in self.image_folders]
        for folder in self.image_folders:
            if not folder.is_dir():
                raise FileNotFoundError(f'{folder}: no such folder. Set data_root or data_prefix.')
        if tags not in (None, 'folders'):
            raise ValueError(f"tags: 'folders' or None, not {tags!r}")
        self.tags = tags
        self.image_index = image_index
        super().__init__(names=self._category_names(categories), **kwargs)

    def _category_names(self, categories: Sequence[str] | str | None) -> list[str] | None:
        if categories is None:
            return None
        if isinstance(categories, str):
            if categories != 'folders':
                raise ValueError(f"categories: a list of names or 'folders', not {categories!r}")
            return category_names(self.image_folders, self.root)
        return list(categories)

    def load_data_list(self) -> ImageEntries:
        """All images, in the order of the sorted relative paths of each folder."""
        sources = tuple(
            ImageSource(folder, self._index_of(folder)) for folder in self.image_folders
        )
        folder_ids = self._folder_ids if self.tags == 'folders' else None
        if folder_ids is not None:
            self._refuse_untagged(sources)
        entries = ImageEntries(sources, folder_ids=folder_ids)
        if self.label_folder is not None:
            entries = entries.with_label_maps(self.label_folder, self.seg_map_suffix)
            if len(sources) > 1:
                refuse_shared_label_maps(entries, entries.label_paths())
        return self.without_bad(entries)

    def _fingerprint_lines(self) -> Iterator[str]:
        yield from super()._fingerprint_lines()
        if find_classes(self.image_folders, self.root):  # else the paths tell the names
            yield f'{self.metainfo.get("classes")}\n'

    def _index_of(self, folder: Path) -> ImageIndex:
        if self.image_index is None:
            return scan_images(folder)
        return kept_index(self.image_index, folder)

    def _refuse_untagged(self, sources: Iterable[ImageSource]) -> None:
        for source in sources:
            for category, path in source.index.top_folders():
                if category not in self._folder_ids:
                    raise ValueError(
                        f"{source.folder / path}: tags='folders' needs it in the folder of one of "
                        f'the {len(self._folder_ids)} categories'
                    )

    @cached_property
    def _folder_ids(self) -> dict[str, int]:
        # the official order, whatever folders exist
        names = self.metainfo.get('wnids') or category_names(self.image_folders, self.root)
        return {name: i for i, name in enumerate(names, start=1)}


@DATASETS.register_module()
class ClassLabelDataset(LUSSDataset):
    """A `LUSSDataset` whose samples carry a class label that some earlier step made.

    Args:
        class_labels: `.npy` file with the label of every image of the folders, int (N,). It is
            read at the first sample, so that a hook may write it when training begins.
        losses: `.npy` file with the loss of every image, float (N,); None keeps all images.
        small_loss: Which losses count as small, the arguments of `select_small_losses`: `rule`
            (mean | quantile | absolute) and `value`. Needs `losses`.
        **kwargs: As `LUSSDataset`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file does not fit the images, or only one of `losses` and `small_loss` is
            given.
    """

    def __init__(
        self,
        class_labels: str,
        losses: str | None = None,
        small_loss: Mapping[str, Any] | None = None,
        **kwargs: object,
    ) -> None:
        if (losses is None) != (small_loss is None):
            raise ValueError('losses and small_loss select together: give both or neither')
        self.class_labels_path = Path(class_labels)
        self.losses_path = losses
        self.small_loss = small_loss
        self.kept: np.ndarray | None = None
        self.num_candidates = 0
        super().__init__(**kwargs)

    def load_data_list(self) -> ImageEntries:
        """The selected images, each with its position among all images of the folders."""
        entries = super().load_data_list()
        self.num_candidates = len(entries)
        self.kept = self._select(len(entries))
        return entries.numbered('position').select(np.flatnonzero(self.kept))

    def prepare_data(self, idx: int) -> dict:
        """Sample after the transforms, which are given `class_label`."""
        info = self.get_data_info(idx)
        info['class_label'] = int(self.labels[info['position']])
        return self.pipeline(info)

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels of all images of the folders, also of those that were not kept. int (N,)."""
        return _read(self.class_labels_path, self.num_candidates)

    def _select(self, num_images: int) -> np.ndarray:
        if self.losses_path is None:
            return np.ones(num_images, dtype=bool)
        return select_small_losses(_read(self.losses_path, num_images), **self.small_loss)


def _read(path: str | Path, num_images: int) -> np.ndarray:
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: missing. The stage that writes it comes first.')
    values = np.load(path, mmap_mode='r')
    if values.shape != (num_images,):
        raise ValueError(
            f'{path}: {values.shape} values for {num_images} images. It was made from other '
            'folders; remove it and run the recipe again.'
        )
    return values
