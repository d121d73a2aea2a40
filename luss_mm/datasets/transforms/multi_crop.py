"""Colour changes, and the crops of a self-supervised training."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from luss_mm.datasets.transforms.resizing import draw_crop, resize_crop
from luss_mm.functional.colour_changes import NO_CHANGE

GREY_WEIGHTS = (0.299, 0.587, 0.114)


def draw_jitter(
    brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[list[float], np.ndarray]:
    """Random brightness, contrast, saturation and hue in random order (torchvision's ColorJitter).

    Args:
        brightness: Factor drawn from [max(0, 1 - x), 1 + x].
        contrast: Likewise, about the mean grey.
        saturation: Likewise, about each pixel's grey.
        hue: Shift drawn from [-x, x] turns of the colour circle.

    Returns:
        Three factors and the hue shift, and the order of the four.
    """
    factors = [np.random.uniform(max(0, 1 - x), 1 + x) for x in (brightness, contrast, saturation)]
    shift = np.random.uniform(-hue, hue)
    return [*factors, shift], np.random.permutation(4)


def apply_jitter(image: np.ndarray, amounts: list[float], order: np.ndarray) -> np.ndarray:
    """Change an image by drawn numbers; see `draw_jitter`."""
    operations = (change_brightness, change_contrast, change_saturation, shift_hue)
    for operation in order:
        image = operations[operation](image, amounts[operation])
    return image


@dataclass(frozen=True)
class ColourChange:
    """What was drawn for one view.

    Attributes:
        jitter: Jitter from `draw_jitter`, or None.
        grey: Whether it becomes grey.
        sigma: Standard deviation of the blur in pixels; 0 for none.
    """

    jitter: tuple[list[float], np.ndarray] | None
    grey: bool
    sigma: float

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Change an RGB image, uint8 (H, W, 3)."""
        if self.jitter is not None:
            image = apply_jitter(image, *self.jitter)
        if self.grey:
            image = to_grey(image)
        return blur(image, self.sigma) if self.sigma else image

    def numbers(self) -> tuple[float, ...]:
        """The same for `functional.colour_changes.change_colours`, a row of its `changes`."""
        amounts, order = self.jitter or (NO_CHANGE[:4], NO_CHANGE[4:8])
        return tuple(map(float, (*amounts, *order, self.grey, self.sigma)))


def change_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all values by a factor."""
    return cv2.convertScaleAbs(image, alpha=factor)


def change_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Stretch all values about the image's mean grey."""
    mean = round(float(np.dot(cv2.mean(image)[:3], GREY_WEIGHTS)))
    table = np.arange(256, dtype=np.float32) * factor + mean * (1 - factor)
    return cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8))


def change_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Stretch all colours about each pixel's grey."""
    return cv2.addWeighted(image, factor, to_grey(image), 1 - factor, 0)


def shift_hue(image: np.ndarray, turns: float) -> np.ndarray:
    """Turn the colour circle; uint8 hue has 180 steps in OpenCV."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(turns * 180)) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Grey image with three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with standard deviation sigma in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


@TRANSFORMS.register_module()
class DistortColours(BaseTransform):
    """Colour jitter, grey and blur of the image; places and label maps stay.

    Args:
        jitter: Brightness, contrast, saturation, hue; see `draw_jitter`.
        jitter_prob: Probability of the jitter.
        grey_prob: Probability of a grey image.
        blur_prob: Probability of a blur.
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
        results['img'] = cv2.cvtColor(self.draw_change().apply(image), cv2.COLOR_RGB2BGR)
        return results

    def draw_change(self) -> ColourChange:
        """Draw what becomes of one image."""
        jittered = np.random.rand() < self.jitter_prob
        jitter = draw_jitter(*self.jitter) if jittered else None
        grey = bool(np.random.rand() < self.grey_prob)
        blurred = np.random.rand() < self.blur_prob
        return ColourChange(jitter, grey, np.random.uniform(*self.blur_sigma) if blurred else 0)


@TRANSFORMS.register_module()
class MultiCrop(DistortColours):
    """Views for self-supervision: crop, flip, colour jitter, grey, blur.

    Args:
        views: Groups of views in order, the global ones first: dicts with `num`, `size` (side in
            pixels) and `scale` (bounds of the crop's share of the image area).
        flip_prob: Probability of a flip left to right.
        colours_on_device: Draw the colour changes, but leave them to `ViewsPreprocessor`, which
            applies them to whole batches: for GPUs that the CPU cores cannot keep busy.
        **kwargs: As `DistortColours`.

    Sets (and drops everything else):
        inputs: List of V views, uint8 RGB tensors (3, s, s).
        crops: left, top, width, height in pixels of the loaded image and 1 where flipped, float32
            (V, 5).
        colour_changes: With colours_on_device: what `functional.colour_changes` is to do to each
            view, float32 (V, 10).

    Source: PASS, methods 2.1: 2 x 224 (.14-1) + 6 x 96 (.05-.14) for S50; SwAV's augmentation.
    """

    def __init__(
        self,
        views: Sequence[dict],
        flip_prob: float = 0.5,
        colours_on_device: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        for view in views:
            if set(view) != {'num', 'size', 'scale'}:
                raise ValueError(f'a group of views has num, size and scale, not {sorted(view)}')
        self.views = [dict(num=v['num'], size=v['size'], scale=tuple(v['scale'])) for v in views]
        self.flip_prob = flip_prob
        self.colours_on_device = colours_on_device

    def transform(self, results: dict) -> dict:
        """Make the views of results['img'] (BGR)."""
        image = results['img']
        inputs, crops, changes = [], [], []
        for group in self.views:
            for _ in range(group['num']):
                view, crop = self._cut_view(image, group['size'], group['scale'])
                change = self.draw_change()
                if not self.colours_on_device:
                    view = change.apply(view)
                inputs.append(torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1))))
                crops.append(crop)
                changes.append(change.numbers())
        sample = dict(inputs=inputs, crops=torch.tensor(crops, dtype=torch.float32))
        if self.colours_on_device:
            sample['colour_changes'] = torch.tensor(changes, dtype=torch.float32)
        return sample

    def _cut_view(
        self, image: np.ndarray, size: int, scale: tuple[float, float]
    ) -> tuple[np.ndarray, tuple[float, ...]]:
        """RGB view and where it lies."""
        crop = draw_crop(*image.shape[:2], scale)
        view = cv2.cvtColor(resize_crop(image, crop, size), cv2.COLOR_BGR2RGB)
        flipped = np.random.rand() < self.flip_prob
        return (cv2.flip(view, 1) if flipped else view), (*crop, flipped)
