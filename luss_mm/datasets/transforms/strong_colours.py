"""Colour operations of strong augmentation, for images whose label maps stay as they are."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from luss_mm.datasets.transforms import colour

FACTOR = (0.05, 0.95)
BLUR_SIGMA = (0.1, 2.0)  # pixels
POSTERISE_BITS = (4, 8)
SOLARISE_THRESHOLD = (1, 256)
HUE_TURNS = (0.0, 0.5)


def blur(image: Tensor) -> Tensor:
    """Gaussian blur by OpenCV, which is much faster than torchvision's on a CPU."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())  # (H, W, 3)
    return torch.from_numpy(colour.blur(pixels, np.random.uniform(*BLUR_SIGMA))).permute(2, 0, 1)


def posterise(image: Tensor) -> Tensor:
    """Keep the 4 to 8 highest bits."""
    return torchvision.posterize(image, _draw_whole(POSTERISE_BITS))


def solarise(image: Tensor) -> Tensor:
    """Invert the values from a threshold on; 256 inverts none (torchvision refuses it)."""
    threshold = _draw_whole(SOLARISE_THRESHOLD)
    return image if threshold > 255 else torchvision.solarize(image, threshold)


# Each takes an RGB uint8 tensor (3, H, W), draws its strength from numpy's global generator and
# returns the like. Bounds: methods of DSSN; factors below 1 weaken.
COLOUR_OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = dict(
    identity=lambda image: image,
    autocontrast=torchvision.autocontrast,
    equalise=torchvision.equalize,
    blur=blur,
    contrast=lambda image: torchvision.adjust_contrast(image, np.random.uniform(*FACTOR)),
    brightness=lambda image: torchvision.adjust_brightness(image, np.random.uniform(*FACTOR)),
    colour=lambda image: torchvision.adjust_saturation(image, np.random.uniform(*FACTOR)),
    sharpness=lambda image: torchvision.adjust_sharpness(image, np.random.uniform(*FACTOR)),
    posterise=posterise,
    solarise=solarise,
    hue=lambda image: torchvision.adjust_hue(image, np.random.uniform(*HUE_TURNS)),
)


def apply_operations(image: np.ndarray, names: list[str]) -> np.ndarray:
    """Apply colour operations in order.

    Args:
        image: BGR uint8; stays as it is. Shape (h, w, 3).
        names: Keys of COLOUR_OPERATIONS.

    Returns:
        A new BGR uint8 array, shape (h, w, 3).
    """
    pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
    for name in names:
        pixels = COLOUR_OPERATIONS[name](pixels)
    rgb = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


@TRANSFORMS.register_module()
class RandomColourOperations(BaseTransform):
    """A few distinct operations out of 11 in random order; places and label maps stay.

    DSSN's strong view has it after `DistortColours(jitter=(0.5, 0.5, 0.5, 0.25))`.

    Args:
        num: Least and largest number of operations; uniform, both included.

    Changes:
        img: uint8 BGR, shape (h, w, 3).

    Raises:
        ValueError: If the bounds of `num` do not fit the pool.

    Source: Cubuk et al. 2020 (RandAugment), with the pool and the strengths of DSSN.
    """

    def __init__(self, num: tuple[int, int] = (1, 3)) -> None:
        low, high = num
        if not 0 <= low <= high <= len(COLOUR_OPERATIONS):
            raise ValueError(
                f'num={tuple(num)}: expected 0 <= least <= largest <= {len(COLOUR_OPERATIONS)}.'
            )
        self.num = (low, high)

    def transform(self, results: dict) -> dict:
        """Change results['img']."""
        names = np.random.permutation(list(COLOUR_OPERATIONS))[: _draw_whole(self.num)]
        results['img'] = apply_operations(results['img'], list(names))
        return results


def _draw_whole(bounds: tuple[int, int]) -> int:
    """Uniform whole number, both bounds included."""
    return int(np.random.randint(bounds[0], bounds[1] + 1))
