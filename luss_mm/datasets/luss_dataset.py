"""Folders of images in the ImageNet-S layout, with or without masks."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from mmseg.registry import DATASETS

from luss_mm.datasets.category_folders import category_names, find_classes
from luss_mm.datasets.image_entries import (
    ImageEntries,
    ImageSource,
    refuse_shared_label_maps,
)
from luss_mm.datasets.image_index import ImageIndex, kept_index, scan_images
from luss_mm.datasets.indexed_dataset import IndexedDataset
from luss_mm.datasets.label_map_file import IGNORE_INDEX


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
        seed: Of the run; sample i of epoch e draws from (seed, e, i).
        ignore_index: Id of pixels that do not count.
        **kwargs: As mmseg's BaseSegDataset: pipeline, indices, test_mode ...

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
        seed: int = 0,
        ignore_index: int = IGNORE_INDEX,
        metainfo: dict | None = None,
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
        super().__init__(
            names=self._category_names(categories),
            seed=seed,
            ignore_index=ignore_index,
            metainfo=metainfo,
            **kwargs,
        )

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
