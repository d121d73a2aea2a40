"""Resizing of whole images as the authors of PASS do it: antialiased, the long side truncated."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from PIL import Image

from luss_mm.functional.pixel_assignment import resize_nearest

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

    def __init__(self, side: int) -> None:
        self.side = side

    def transform(self, results: dict) -> dict:
        """Resize results['img'] (uint8) and, where there is one, results['gt_seg_map']."""
        image = results['img']
        height, width = image.shape[:2]
        size = short_side_size(width, height, self.side)
        resized = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        results['img'] = resized
        if 'gt_seg_map' in results:
            labels = torch.from_numpy(results['gt_seg_map'])
            results['gt_seg_map'] = resize_nearest(labels, resized.shape[:2]).numpy()
        results['img_shape'] = resized.shape[:2]
        results['scale'] = size
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results['keep_ratio'] = True
        return results


def short_side_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height, at least 1, of an image whose short side becomes `side`.

    Source: torchvision.transforms.Resize, which truncates; PASS uses it with 256.
    """
    short, long = side, int(side * max(width, height) / min(width, height))
    if long > LARGEST_RATIO * side:
        short, long = max(1, int(LARGEST_RATIO * side * side / long)), LARGEST_RATIO * side
    return (short, long) if width <= height else (long, short)
