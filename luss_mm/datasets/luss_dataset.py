"""Folders of images in the ImageNet-S layout, with or without masks."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from luss_mm.datasets.sample_seed import sample_randomness
from luss_mm.functional.palette import category_palette

IGNORE_INDEX = 1000
IMAGE_SUFFIXES = ('.jpeg', '.jpg', '.png', '.bmp', '.webp')


@DATASETS.register_module()
class LUSSDataset(BaseSegDataset):
    """Images below one or several folders, in the order of their sorted relative paths.

    Category folders are optional and never reach the pipeline except as part of the file's path:
    ids come from the masks, names from `categories`.

    Args:
        data_root: Folder of the data set.
        data_prefix: `img_path`: folder below data_root, or a list of folders that are read one
            after another; `seg_map_path`: folder with the masks `<relative path>.png` in the
            ImageNet-S coding, or '' for an unlabelled split, which needs no mask files. Absolute
            paths are taken as they are.
        categories: Names of the ids 1..K; 'folders' takes the sorted names of the folders in
            `img_path`; None leaves the ids nameless.
        seed: Of the run; sample i of epoch e draws from (seed, e, i).
        ignore_index: Id of pixels that do not count.
        **kwargs: As mmseg's BaseSegDataset: pipeline, indices, test_mode ...

    Raises:
        FileNotFoundError: If a folder is missing or holds no images.
        ValueError: If two images would share one label map.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: dict | None = None,
        categories: Sequence[str] | str | None = None,
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
        self.seed = seed
        for folder in self.image_folders:
            if not folder.is_dir():
                raise FileNotFoundError(f'{folder}: no such folder. Set data_root or data_prefix.')
        metainfo = dict(metainfo or {})
        names = self._category_names(categories)
        if names is not None:
            metainfo.setdefault('classes', ('others', *names))
            metainfo.setdefault('palette', category_palette(len(names) + 1).tolist())
        super().__init__(
            data_root='',
            data_prefix=dict(img_path='', seg_map_path=''),
            metainfo=metainfo,
            ignore_index=ignore_index,
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
            self._refuse_shared_label_maps(entries)
        return entries

    def _entry(self, folder: Path, relative: str) -> dict:
        entry = dict(
            img_path=os.path.join(folder, relative),
            label_map=None,
            reduce_zero_label=False,
            seg_fields=[],
        )
        if self.label_folder is not None:
            label_path = os.path.splitext(relative)[0] + self.seg_map_suffix
            entry['seg_map_path'] = os.path.join(self.label_folder, label_path)
        return entry

    @staticmethod
    def _refuse_shared_label_maps(entries: list[dict]) -> None:
        owners: dict[str, str] = {}
        for entry in entries:
            owner = owners.setdefault(entry['seg_map_path'], entry['img_path'])
            if owner != entry['img_path']:
                raise ValueError(
                    f'{entry["img_path"]} and {owner} share the label map '
                    f'{entry["seg_map_path"]}. Rename one of them.'
                )

    def __getitem__(self, index: int) -> dict:
        """Sample `index % len(self)` as drawn in epoch `index // len(self)` (see EpochSampler)."""
        epoch, index = divmod(int(index), len(self))
        with sample_randomness(self.seed, epoch, index):
            return super().__getitem__(index)

    def relative_path(self, index: int) -> str:
        """Path of an image relative to its image folder, with '/' between the parts."""
        path = Path(self.get_data_info(index)['img_path'])
        folder = next(folder for folder in self.image_folders if path.is_relative_to(folder))
        return path.relative_to(folder).as_posix()

    def fingerprint(self) -> str:
        """SHA-256 of the relative paths and sizes of all images and of masks below data_root.

        Contents are not read: an image replaced by one of the same size goes unnoticed. Label maps
        elsewhere are not counted, since the run itself makes them.
        """
        digest = hashlib.sha256()
        for index in range(len(self)):
            entry = self.get_data_info(index)
            size = os.stat(entry['img_path']).st_size
            digest.update(f'{self.relative_path(index)}\0{size}\n'.encode())
            label_path = entry.get('seg_map_path')
            if label_path and self._is_given(label_path) and os.path.exists(label_path):
                digest.update(f'{os.stat(label_path).st_size}\n'.encode())
        return digest.hexdigest()

    def _is_given(self, label_path: str) -> bool:
        return any(Path(label_path).is_relative_to(f.parent) for f in self.image_folders)


def list_images(folder: Path) -> Iterator[str]:
    """Sorted relative paths of all images below a folder; links to folders are followed.

    Raises:
        FileNotFoundError: If there are none.
    """
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        found.extend(
            os.path.relpath(os.path.join(parent, name), folder)
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES)
        )
    if not found:
        raise FileNotFoundError(f'{folder}: holds no image ({", ".join(IMAGE_SUFFIXES)}).')
    return iter(sorted(found))
