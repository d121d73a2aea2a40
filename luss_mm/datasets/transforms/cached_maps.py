"""Samples of cached backbone maps: reading, cropping and flipping them with their label map."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

from luss_mm.datasets.cached_maps import CachedMaps
from luss_mm.functional.pixel_assignment import resize_nearest


@TRANSFORMS.register_module()
class LoadCachedMaps(BaseTransform):
    """Reads the cached maps of an image instead of the image.

    The maps are opened with the first sample, in the loading process, since a hook computes them
    after the data set is built.

    Args:
        directory: Finished output of `cache_feature_maps` for the images of this data set.
        side: Short side of the images as the backbone saw them, in pixels.
        channels: Of each map.
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
        prob: Of mirroring a sample.
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

    META = ('img_path', 'ori_shape', 'img_shape')

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
