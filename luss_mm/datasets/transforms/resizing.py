"""Sizes of images: bounded, of a short side, and cropped."""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from PIL import Image

from luss_mm.datasets.transforms.loading import bounded
from luss_mm.functional.pixel_assignment import resize_nearest


@TRANSFORMS.register_module()
class BoundImage(BaseTransform):
    """Shrinks a loaded image if it is very large, as `LoadBoundedImage` does.

    Args:
        max_side: Bound on the longer side in pixels; None for no bound.

    Sets:
        img: uint8 BGR, shape (h, w, 3). img_shape: its (h, w). ori_shape stays that of the file.
    """

    def __init__(self, max_side: int | None = 2048) -> None:
        self.max_side = max_side

    def transform(self, results: dict) -> dict:
        """Bound results['img']."""
        results['img'] = image = bounded(results['img'], results['ori_shape'], self.max_side)
        results['img_shape'] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class ScoreAsResized(BaseTransform):
    """Takes the present size for that of the file, so that predictions have the mask's size.

    mmseg resizes predictions to `ori_shape`. After `LoadAnnotations`, `ResizeShortSide` and
    `CenterCrop` the mask has another size.

    Sets:
        ori_shape: (h, w) of the image as it is.
    """

    def transform(self, results: dict) -> dict:
        """Set results['ori_shape']."""
        results['ori_shape'] = results['img'].shape[:2]
        return results


LARGEST_RATIO = 8  # of the sides of what comes out: a panorama would take all memory


@TRANSFORMS.register_module()
class ResizeShortSide(BaseTransform):
    """Brings the short side to a length by Pillow's bilinear filter, which averages on shrinking.

    Equals torchvision's `Resize(side, max_size=8 * side)` on Pillow images. A label map that was
    loaded before is brought to the same size by nearest neighbour.

    Args:
        side: Pixels of the short side. A long side beyond 8 times as many becomes 8 times as
            many, and the short side shorter.

    Sets:
        img: uint8, shape (h, w, 3). img_shape: (h, w). scale: (w, h). scale_factor: of width and
            height. keep_ratio: True.
    """

    keep_ratio = True

    def __init__(self, side: int) -> None:
        self.side = side

    def transform(self, results: dict) -> dict:
        """Resize results['img'] (uint8) and, where there is one, results['gt_seg_map']."""
        image = results['img']
        height, width = image.shape[:2]
        size = self._size(width, height)
        resized = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        results['img'] = resized
        if 'gt_seg_map' in results:
            labels = torch.from_numpy(results['gt_seg_map'])
            results['gt_seg_map'] = resize_nearest(labels, resized.shape[:2]).numpy()
        results['img_shape'] = resized.shape[:2]
        results['scale'] = size
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results['keep_ratio'] = self.keep_ratio
        return results

    def _size(self, width: int, height: int) -> tuple[int, int]:
        return short_side_size(width, height, self.side)


@TRANSFORMS.register_module()
class ResizeSquare(ResizeShortSide):
    """Makes a square of every image, whatever its sides, by Pillow's bilinear filter.

    What Jittor's `Resize(side)` does, and so the public code of PDSO.

    Args:
        side: Pixels of each side.

    Sets:
        As `ResizeShortSide`; keep_ratio: False.
    """

    keep_ratio = False

    def _size(self, width: int, height: int) -> tuple[int, int]:
        return self.side, self.side


def short_side_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height, at least 1, of an image whose short side becomes `side`.

    Source: torchvision.transforms.Resize, which truncates; PASS uses it with 256.
    """
    short, long = side, int(side * max(width, height) / min(width, height))
    if long > LARGEST_RATIO * side:
        short, long = max(1, int(LARGEST_RATIO * side * side / long)), LARGEST_RATIO * side
    return (short, long) if width <= height else (long, short)


CROP_ATTEMPTS = 10


def draw_crop(
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """Draw a crop of random area and aspect ratio, as torchvision's RandomResizedCrop does.

    Draws from numpy's global generator, which the data set seeds for every sample.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        scale: Bounds of the crop's share of the image area.
        ratio: Bounds of width / height; log-uniform.

    Returns:
        left, top, crop width, crop height in pixels.
    """
    for _ in range(CROP_ATTEMPTS):
        area = height * width * np.random.uniform(*scale)
        aspect = np.exp(np.random.uniform(*np.log(ratio)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = np.random.randint(height - h + 1)
            left = np.random.randint(width - w + 1)
            return left, top, w, h
    # No crop fits: the largest central one with an allowed aspect ratio.
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    return (width - w) // 2, (height - h) // 2, w, h


def resize_crop(image: np.ndarray, crop: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Cut out a crop and bring it to size x size, averaging areas where it shrinks."""
    left, top, width, height = crop
    interpolation = cv2.INTER_AREA if min(width, height) > size else cv2.INTER_LINEAR
    return cv2.resize(
        image[top : top + height, left : left + width], (size, size), interpolation=interpolation
    )


@TRANSFORMS.register_module()
class RandomResizedSegCrop(BaseTransform):
    """RandomResizedCrop of an image and its label map (nearest neighbour).

    Args:
        size: Side of the square result in pixels.
        scale: Bounds of the crop's share of the image area.
        ratio: Bounds of width / height.

    Changes:
        img, img_shape, and every map in seg_fields.
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = size
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)

    def transform(self, results: dict) -> dict:
        """Crop and resize."""
        image = results['img']
        crop = draw_crop(*image.shape[:2], self.scale, self.ratio)
        left, top, width, height = crop
        results['img'] = resize_crop(image, crop, self.size)
        results['img_shape'] = results['img'].shape[:2]
        for key in results.get('seg_fields', []):
            labels = results[key][top : top + height, left : left + width]
            results[key] = cv2.resize(
                labels, (self.size, self.size), interpolation=cv2.INTER_NEAREST_EXACT
            )
        return results
