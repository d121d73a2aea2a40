"""Several random views of one image that know where they were cut out."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from luss_mm.datasets.transforms import colours
from luss_mm.datasets.transforms.resizing import draw_crop, resize_crop


@TRANSFORMS.register_module()
class MultiCrop(BaseTransform):
    """Views for self-supervision: crop, flip, colour jitter, grey, blur.

    Args:
        views: Groups of views in order, the global ones first: dicts with `num`, `size` (side in
            pixels) and `scale` (bounds of the crop's share of the image area).
        flip_prob: Of a flip left to right.
        jitter: Brightness, contrast, saturation, hue; see `colours.jitter_colours`.
        jitter_prob: Of the jitter.
        grey_prob: Of a grey view.
        blur_prob: Of a blur.
        blur_sigma: Bounds of its standard deviation in pixels.
        colours_on_device: Draw the colour changes, but leave them to `ViewsPreprocessor`, which
            applies them to whole batches: for GPUs that the CPU cores cannot keep busy.

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
        jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2),
        jitter_prob: float = 0.8,
        grey_prob: float = 0.2,
        blur_prob: float = 0.5,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        colours_on_device: bool = False,
    ) -> None:
        for view in views:
            if set(view) != {'num', 'size', 'scale'}:
                raise ValueError(f'a group of views has num, size and scale, not {sorted(view)}')
        self.views = [dict(num=v['num'], size=v['size'], scale=tuple(v['scale'])) for v in views]
        self.flip_prob = flip_prob
        self.jitter = tuple(jitter)
        self.jitter_prob = jitter_prob
        self.grey_prob = grey_prob
        self.blur_prob = blur_prob
        self.blur_sigma = tuple(blur_sigma)
        self.colours_on_device = colours_on_device

    def transform(self, results: dict) -> dict:
        """Make the views of results['img'] (BGR)."""
        image = results['img']
        inputs, crops, changes = [], [], []
        for group in self.views:
            for _ in range(group['num']):
                view, crop = self._cut_view(image, group['size'], group['scale'])
                change = self._draw_change()
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

    def _draw_change(self) -> colours.ColourChange:
        jittered = np.random.rand() < self.jitter_prob
        jitter = colours.draw_jitter(*self.jitter) if jittered else None
        grey = bool(np.random.rand() < self.grey_prob)
        blurred = np.random.rand() < self.blur_prob
        return colours.ColourChange(
            jitter, grey, np.random.uniform(*self.blur_sigma) if blurred else 0
        )
