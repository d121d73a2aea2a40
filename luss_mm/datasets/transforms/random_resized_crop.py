"""Random crops of random size and shape, of an image alone or with its label map."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

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
        height: Of the image in pixels.
        width: Of the image in pixels.
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
