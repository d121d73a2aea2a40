"""The colour distortion of self-supervision for images with label maps."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from luss_mm.datasets.transforms import colour


@TRANSFORMS.register_module()
class DistortColours(BaseTransform):
    """Colour jitter, grey and blur of the image; places and label maps stay.

    Args:
        jitter: Brightness, contrast, saturation, hue; see `colour.jitter_colours`.
        jitter_prob: Of the jitter.
        grey_prob: Of a grey image.
        blur_prob: Of a blur.
        blur_sigma: Bounds of its standard deviation in pixels.

    Changes:
        img: uint8 BGR, shape (h, w, 3).

    Source: Chen et al. 2020 (SimCLR), as ImageNetSegModel fine-tunes with it.
    """

    def __init__(
        self,
        jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2),
        jitter_prob: float = 0.8,
        grey_prob: float = 0.2,
        blur_prob: float = 0.5,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
    ) -> None:
        self.jitter = tuple(jitter)
        self.jitter_prob = jitter_prob
        self.grey_prob = grey_prob
        self.blur_prob = blur_prob
        self.blur_sigma = tuple(blur_sigma)

    def transform(self, results: dict) -> dict:
        """Change results['img']."""
        image = cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB)
        if np.random.rand() < self.jitter_prob:
            image = colour.jitter_colours(image, *self.jitter)
        if np.random.rand() < self.grey_prob:
            image = colour.to_grey(image)
        if np.random.rand() < self.blur_prob:
            image = colour.blur(image, np.random.uniform(*self.blur_sigma))
        results['img'] = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return results
