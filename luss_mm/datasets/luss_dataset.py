"""Folders of images in the ImageNet-S layout, with or without masks."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from mmseg.registry import DATASETS

from luss_mm.datasets.seeded_dataset import (
    IGNORE_INDEX,
    SeededDataset,
    make_entry,
    refuse_shared_label_maps,
)

IMAGE_SUFFIXES = ('.jpeg', '.jpg', '.png', '.bmp', '.webp')


@DATASETS.register_module()
class LUSSDataset(SeededDataset):
    """Images below one or several folders, in the order of their sorted relative paths.

    Category folders are optional and never reach the pipeline except as part of the file's path,
    unless `tags` asks for them: ids come from the masks, names from `categories`.

    Args:
        data_root: Folder of the data set.
        data_prefix: `img_path`: folder below data_root, or a list of folders that are read one
            after another; `seg_map_path`: folder with the masks `<relative path>.png` in the
            ImageNet-S coding, or '' for an unlabelled split, which needs no mask files. Absolute
            paths are taken as they are.
        categories: Names of the ids 1..K; 'folders' takes the sorted names of the folders in
            `img_path`; None leaves the ids nameless.
        tags: 'folders' gives each image the id of its category folder as `image_tags`: the sorted
            folders of the first image folder are the ids 1..K, unless metainfo has `wnids`. None
            gives none.
        seed: Of the run; sample i of epoch e draws from (seed, e, i).
        ignore_index: Id of pixels that do not count.
        **kwargs: As mmseg's BaseSegDataset: pipeline, indices, test_mode ...

    Raises:
        FileNotFoundError: If a folder is missing or holds no images.
        ValueError: If two images would share one label map, or `tags` asks for the category folder
            of an image that lies in none.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: dict | None = None,
        categories: Sequence[str] | str | None = None,
        tags: str | None = None,
        seed: int = 0,
        ignore_index: int = IGNORE_INDEX,
        metainfo: dict | None = None,
        **kwargs: object,
    ) -> None:
        prefix = dict(img_path='train', seg_map_path='') | dict(data_prefix or {})
        folders = prefix['img_path']
        folders = [folders] if isinstance(folders, str) else list(folders)
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
            return sorted({p.name for f in self.image_folders for p in f.iterdir() if p.is_dir()})
        return list(categories)

    def load_data_list(self) -> list[dict]:
        """One small dict an image, in the order of the sorted relative paths of each folder."""
        entries = []
        for folder in self.image_folders:
            entries.extend(self._entry(folder, relative) for relative in list_images(folder))
        if self.label_folder is not None:
            refuse_shared_label_maps(entries)
        return self.without_bad(entries)

    def _entry(self, folder: Path, relative: str) -> dict:
        label_map = None
        if self.label_folder is not None:
            label_path = os.path.splitext(relative)[0] + self.seg_map_suffix
            label_map = os.path.join(self.label_folder, label_path)
        entry = make_entry(os.path.join(folder, relative), label_map)
        if self.tags == 'folders':
            entry['image_tags'] = (self._folder_id(folder, relative),)
        return entry

    def _folder_id(self, folder: Path, relative: str) -> int:
        category = Path(relative).parts[0]
        if category not in self._folder_ids:
            raise ValueError(
                f"{folder / relative}: tags='folders' needs it in the folder of one of the "
                f'{len(self._folder_ids)} categories'
            )
        return self._folder_ids[category]

    @cached_property
    def _folder_ids(self) -> dict[str, int]:
        folders = sorted(p.name for p in self.image_folders[0].iterdir() if p.is_dir())
        names = self.metainfo.get('wnids', folders)  # the official order, whatever folders exist
        return {name: i for i, name in enumerate(names, start=1)}


def list_images(folder: Path) -> Iterator[str]:
    """Sorted relative paths of all images below a folder.

    Links to folders are followed, but not back to a folder that they lie in.

    Raises:
        FileNotFoundError: If there are none.
    """
    found = []
    above: dict[str, set[tuple[int, int]]] = {}  # identities of a folder and those that it lies in
    for parent, inner, names in os.walk(folder, followlinks=True):
        lineage = above.pop(parent, set()) | {_identity(parent)}
        inner[:] = [name for name in inner if _identity(os.path.join(parent, name)) not in lineage]
        above |= {os.path.join(parent, name): lineage for name in inner}
        found.extend(
            os.path.relpath(os.path.join(parent, name), folder)
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES)
        )
    if not found:
        raise FileNotFoundError(f'{folder}: holds no image ({", ".join(IMAGE_SUFFIXES)}).')
    return iter(sorted(found))


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
