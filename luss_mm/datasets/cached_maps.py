"""Maps that a frozen backbone gave of images, read from the files in which they were kept."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

SIZES = 4  # columns of a layout before the shapes: H, W of the file, h, w of the network's input


def values_path(directory: str | Path, shard: int) -> Path:
    """Flat float16 values of all maps of a shard's images, image by image."""
    return Path(directory, f'shard-{shard:06d}.npy')


def layout_path(directory: str | Path, shard: int) -> Path:
    """int32 rows (H, W, h, w, then C, h, w of each map), one for each image of a shard."""
    return Path(directory, f'shard-{shard:06d}.layout.npy')


class CachedMaps:
    """Maps of the images of a data set. Keeps no file open, so any process may hold it.

    Args:
        directory: Finished output of `cache_feature_maps`.

    Raises:
        FileNotFoundError: If there are no maps.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        paths = sorted(self.directory.glob('shard-*.layout.npy'))
        if not paths:
            raise FileNotFoundError(f'{directory}: holds no cached feature maps.')
        layouts = [np.load(path) for path in paths]
        self._layout = np.concatenate(layouts)  # (N, SIZES + 3 L)
        self._firsts = np.cumsum([0, *map(len, layouts)])
        lengths = self._shapes().prod(axis=2).sum(axis=1)  # (N,)
        self._stops = np.cumsum(lengths)
        self._starts = self._stops - lengths

    def __len__(self) -> int:
        """Number of images."""
        return len(self._layout)

    def file_size(self, index: int) -> tuple[int, int]:
        """Height and width of an image's file in pixels."""
        return tuple(self._layout[index, :2].tolist())

    def input_size(self, index: int) -> tuple[int, int]:
        """Height and width of an image in pixels as the backbone saw it."""
        return tuple(self._layout[index, 2:SIZES].tolist())

    def maps(self, index: int) -> list[np.ndarray]:
        """Maps of an image in the order of the cached outputs, memory-mapped.

        Args:
            index: Of the image within the data set.

        Returns:
            float16 arrays (C, h, w).
        """
        shard = int(np.searchsorted(self._firsts, index, side='right')) - 1
        values = np.load(values_path(self.directory, shard), mmap_mode='r')
        start = self._starts[index] - self._starts[self._firsts[shard]]
        found = []
        for shape in self._shapes()[index]:
            stop = start + shape.prod()
            found.append(values[start:stop].reshape(shape))
            start = stop
        return found

    def _shapes(self) -> np.ndarray:
        """C, h and w of every map, int64 (N, L, 3)."""
        return self._layout[:, SIZES:].astype(np.int64).reshape(len(self._layout), -1, 3)


class WithDeepMap(Dataset):
    """Samples of a data set, each with a map of the cache beside its image.

    Args:
        dataset: A `LUSSDataset` whose samples are those of `PackImage`.
        directory: Finished output of `cache_feature_maps` for the same images.
        level: Which of the cached maps.
    """

    def __init__(self, dataset: Any, directory: str | Path, level: int) -> None:
        self.dataset = dataset
        self.directory = directory
        self.level = level

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample with `features`, float16 (C, h, w)."""
        features = np.array(self._cache.maps(index)[self.level])
        return dict(self.dataset[index], features=torch.from_numpy(features))

    def fingerprint(self) -> str:
        """Fingerprint of the images."""
        return self.dataset.fingerprint()

    def relative_path(self, index: int) -> str:
        """Path of an image relative to its image folder."""
        return self.dataset.relative_path(index)

    def label_map_name(self, index: int) -> str:
        """Relative path of the label map that is made of an image."""
        return self.dataset.label_map_name(index)

    @cached_property
    def _cache(self) -> CachedMaps:
        return CachedMaps(self.directory)
