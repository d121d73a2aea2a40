"""Maps that a frozen backbone gave of images: their files, and samples made of them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from torch.utils.data import Dataset

from luss_mm.functional.pixel_assignment import resize_nearest

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
            index: Index of the image within the data set.

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


@TRANSFORMS.register_module()
class LoadCachedMaps(BaseTransform):
    """Reads the cached maps of an image instead of the image.

    The maps are opened with the first sample, in the loading process, since a hook computes them
    after the data set is built.

    Args:
        directory: Finished output of `cache_feature_maps` for the images of this data set.
        side: Short side of the images as the backbone saw them, in pixels.
        channels: Channels of each map.
        strides: Pixels between cells of each map.

    Sets:
        maps: list of float16 (C, h, w). ori_shape: (H, W) of the file. img_shape: (h, w) of the
        image as the backbone saw it.

    Raises:
        ValueError: If the maps have other channels or strides.
    """

    def __init__(
        self, directory: str, side: int, channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        self.directory = directory
        self.side = side
        self.channels = tuple(channels)
        self.strides = tuple(strides)

    def transform(self, results: dict) -> dict:
        """Read the maps of results['sample_idx']."""
        index = results['sample_idx']
        results['maps'] = self._cache.maps(index)
        results['ori_shape'] = self._cache.file_size(index)
        results['img_shape'] = self._cache.input_size(index)
        self._refuse_other_maps([level.shape for level in results['maps']], results['img_shape'])
        return results

    def _refuse_other_maps(
        self, shapes: Sequence[tuple[int, ...]], input_size: tuple[int, int]
    ) -> None:
        fits = [shape[0] for shape in shapes] == list(self.channels) and all(
            abs(cells * stride - pixels) < stride
            for shape, stride in zip(shapes, self.strides, strict=True)
            for cells, pixels in zip(shape[1:], input_size, strict=True)
        )
        if not fits:
            raise ValueError(
                f'{self.directory}: maps of the shapes {shapes} of an image of {input_size} '
                f'pixels do not have {self.channels} channels and strides of {self.strides} pixels'
            )

    @cached_property
    def _cache(self) -> CachedMaps:
        return CachedMaps(self.directory)


@TRANSFORMS.register_module()
class CropCachedMaps(BaseTransform):
    """Cuts a square out of the maps, and the same square out of the label map.

    The square lies on whole cells of the coarsest map, its place is drawn. Where the image is
    shorter, maps are padded with 0 and the label map with ignore_index, at the right and bottom.

    Args:
        size: Side of the square in pixels of the network's input.
        strides: Pixels between cells of each map.
        ignore_index: Id of pixels that do not count.

    Changes:
        maps; gt_seg_map, first brought to img_shape; img_shape.

    Raises:
        ValueError: If strides do not divide the coarsest one, or that one the size.
    """

    def __init__(self, size: int, strides: Sequence[int], ignore_index: int) -> None:
        self.size = size
        self.strides = tuple(strides)
        self.ignore_index = ignore_index
        self.stride = max(self.strides)
        if size % self.stride or any(self.stride % stride for stride in self.strides):
            raise ValueError(
                f'crop_size={size} must be a multiple of the coarsest of the strides '
                f'{self.strides}, and that one of the others'
            )

    def transform(self, results: dict) -> dict:
        """Crop results['maps'] and results['gt_seg_map']."""
        maps, input_size = results['maps'], results['img_shape']
        coarsest = maps[self.strides.index(self.stride)]
        corner = [self._draw_offset(cells) for cells in coarsest.shape[1:]]
        results['maps'] = [
            _window(level, corner, self.size, stride, padding=0)
            for level, stride in zip(maps, self.strides, strict=True)
        ]
        labels = resize_nearest(torch.from_numpy(results['gt_seg_map']), input_size).numpy()
        results['gt_seg_map'] = _window(labels[None], corner, self.size, 1, self.ignore_index)[0]
        results['img_shape'] = (self.size, self.size)
        return results

    def _draw_offset(self, cells: int) -> int:
        """Pixels before the square, drawn from the generator that the data set seeds."""
        spare = cells - self.size // self.stride
        return np.random.randint(spare + 1) * self.stride if spare > 0 else 0


@TRANSFORMS.register_module()
class FlipCachedMaps(BaseTransform):
    """Mirrors maps and label map from left to right.

    Args:
        prob: Probability of mirroring a sample.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Mirror results['maps'] and results['gt_seg_map'], or leave them."""
        if np.random.rand() < self.prob:
            results['maps'] = [level[..., ::-1] for level in results['maps']]
            results['gt_seg_map'] = results['gt_seg_map'][:, ::-1]
        return results


@TRANSFORMS.register_module()
class PackCachedMaps(BaseTransform):
    """Packs maps and label map for `FrozenSegmentor`.

    Sets:
        inputs: tuple of float16 tensors (C, h, w).
        data_samples: with `gt_sem_seg`, int64 (1, h, w).
    """

    META = ('img_path', 'sample_idx', 'ori_shape', 'img_shape')

    def transform(self, results: dict) -> dict:
        """Pack results['maps'] and results['gt_seg_map']."""
        labels = torch.from_numpy(results['gt_seg_map'].astype(np.int64)[None])
        sample = SegDataSample(
            metainfo={key: results[key] for key in self.META},
            gt_sem_seg=PixelData(data=labels),
        )
        inputs = tuple(torch.from_numpy(np.array(level)) for level in results['maps'])
        return dict(inputs=inputs, data_samples=sample)


def _window(
    values: np.ndarray, corner: Sequence[int], size: int, stride: int, padding: int
) -> np.ndarray:
    """A square of values (C, h, w) at a stride; `corner` (top, left) and `size` are pixels."""
    top, left = (offset // stride for offset in corner)
    cells = size // stride
    cut = values[:, top : top + cells, left : left + cells]
    if cut.shape[1:] == (cells, cells):
        return cut
    missing = [(0, 0), *((0, cells - length) for length in cut.shape[1:])]
    return np.pad(cut, missing, constant_values=padding)
