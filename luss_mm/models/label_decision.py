"""From logits to a label map at file size, and the foreground as a segmenter sees it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import ImgDataPreprocessor
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.mask_prompts import (
    ForegroundScore,
    MaskPrompt,
    component_boxes,
    prompts_with_score,
)
from luss_mm.functional.pixel_assignment import foreground_probability, resize_argmax, resize_score

FLIP_AXES = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@torch.no_grad()
def decide_label_map(
    logits: Tensor,
    meta: Mapping[str, Any],
    input_size: torch.Size | tuple[int, int],
    max_pixels: int = 1000 * 1000,
    max_side: int = 1000,
    allowed: Sequence[int] | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Argmax of resized logits at the size of the image's file, without its padding and flip.

    Args:
        logits: Logits of one image, at any resolution, resized bilinearly. Shape (K, h, w).
        meta: `ori_shape` and, where padded or flipped, `img_padding_size` or `padding_size`,
            `flip` and `flip_direction`.
        input_size: Size of the padded network input, (H, W) in pixels.
        max_pixels: Images with more pixels than this are decided at a longest side of `max_side`
            and enlarged by nearest neighbour.
        max_side: See above.
        allowed: Ids that may be predicted, as the image's tags; None for all K.
        align_corners: As in F.interpolate.

    Returns:
        Label map, int64 in [0, K). Shape (1, ori_H, ori_W).

    Raises:
        ValueError: If `allowed` is empty or names an id that there is no logit for, or if a padded
            image's corners are to be aligned.
    """
    chosen = logits[None]  # (1, K, h, w)
    if allowed is not None:
        ids = torch.as_tensor(sorted(set(allowed)), device=logits.device)
        if not len(ids) or ids[0] < 0 or ids[-1] >= len(logits):
            raise ValueError(f'allowed ids {list(allowed)} must be some of 0..{len(logits) - 1}')
        chosen = chosen[:, ids]
    height, width = size = tuple(meta['ori_shape'][:2])
    shrink = max_side / max(size) if height * width > max_pixels else 1
    decided = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    padding = padding_of(meta)
    if align_corners and any(padding):
        raise ValueError(
            f'the image is padded by {list(padding)}, whose corners a head with align_corners=True '
            'would align: set size_divisor=1 in the data preprocessor'
        )
    resize = partial(resize_argmax, align_corners=align_corners)
    labels = resize_without_padding(chosen, decided, padding, input_size, resize)
    if decided != size:
        # ids up to 2^24 are exact in float32
        labels = F.interpolate(labels[:, None].float(), size, mode='nearest')[:, 0].long()
    if allowed is not None:
        labels = ids[labels]
    if meta.get('flip', False):
        labels = labels.flip(FLIP_AXES[meta.get('flip_direction', 'horizontal')])
    return labels


@torch.no_grad()
def full_size_logits(
    logits: Tensor,
    meta: Mapping[str, Any],
    input_size: torch.Size | tuple[int, int],
    align_corners: bool = False,
) -> Tensor:
    """Logits at the size of the image's file, without its padding and flip.

    Args:
        logits: Logits of one image, at any resolution. Shape (K, h, w).
        meta: As in `decide_label_map`.
        input_size: Size of the padded network input, (H, W) in pixels.
        align_corners: As in F.interpolate.

    Returns:
        Logits, 4 K bytes a pixel in float32. Shape (K, ori_H, ori_W).
    """

    def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(maps, size, mode='bilinear', align_corners=align_corners)[0]

    size = tuple(meta['ori_shape'][:2])
    resized = resize_without_padding(logits[None], size, padding_of(meta), input_size, resize)
    if meta.get('flip', False):
        resized = resized.flip(FLIP_AXES[meta.get('flip_direction', 'horizontal')])
    return resized


def padding_of(meta: Mapping[str, Any]) -> Sequence[int]:
    """Pixels that were added to an image on the left, right, top and bottom."""
    return meta.get('img_padding_size', meta.get('padding_size', (0,) * 4))


def resize_without_padding(
    maps: Tensor,
    size: tuple[int, int],
    padding: Sequence[int],
    input_size: torch.Size | tuple[int, int],
    resize: Callable[[Tensor, tuple[int, int]], Tensor],
) -> Tensor:
    """Maps of the image that lies in a padded input; see `_axis_window`.

    Args:
        maps: Maps of the padded input, at any resolution. Shape (B, ..., h, w).
        size: Size of the image in the result, (H, W).
        padding: Padding from `padding_of`.
        input_size: Size of the padded input, (H, W) in pixels.
        resize: Makes maps (B, H', W') of maps like `maps` and a size.

    Returns:
        What `resize` gives, of the image alone. Shape (B, H, W).
    """
    left, right, top, bottom = padding
    rows, down, visible_rows = _axis_window(maps.shape[-2], input_size[0], top, bottom, size[0])
    columns, across, visible_columns = _axis_window(
        maps.shape[-1], input_size[1], left, right, size[1]
    )
    resized = resize(maps[..., rows, columns], (down, across))
    return resized[:, visible_rows, visible_columns]


def _axis_window(
    cells: int, pixels: int, before: int, after: int, size: int
) -> tuple[slice, int, slice]:
    """Where one axis of a padded image lies in its feature map.

    Cells that saw a part of the image stay whole, so that the image keeps its scale: they are
    resized to more than `size`, and the image is cut out of that.

    Args:
        cells: Length of the feature map.
        pixels: Length of the padded input.
        before: Padded pixels before the image.
        after: Padded pixels after it.
        size: Wanted length of the image.

    Returns:
        The cells that saw the image, the length to resize them to and the image's part of that.
    """
    first = before * cells // pixels
    last = -(-(pixels - after) * cells // pixels)  # rounded up
    scale = size / (pixels - before - after)  # of an input pixel
    length = round((last - first) * pixels / cells * scale)
    start = int((before - first * pixels / cells) * scale)
    return slice(first, last), length, slice(start, start + size)


# Probabilities that are surely background, foreground and surely object.
BOUNDS = (0.1, 0.5, 0.9)


class ForegroundRefiner:
    """Asks a segmenter where the foreground of an image is, prompted by a network's logits.

    The foreground probability is one minus the softmax probability of id 0. Everything happens at
    the size of the network's input or at the segmenter's `whole_image_side`, whichever is smaller;
    the mask is then enlarged bilinearly, so that large images cost no more than small ones.

    Args:
        segmenter: Config of a segmenter in mmseg's MODELS.
        preprocessor: Preprocessor of the network; undone to get the image back.

    Raises:
        ValueError: If the preprocessor does not tell how it normalises images.
    """

    def __init__(self, segmenter: Mapping[str, Any], preprocessor: ImgDataPreprocessor) -> None:
        if not isinstance(preprocessor, ImgDataPreprocessor):
            raise ValueError(
                'refining predictions needs a data_preprocessor with the mean and std of the '
                f'images, such as SegDataPreProcessor, not {type(preprocessor).__name__}'
            )
        self.segmenter = MODELS.build(dict(segmenter))
        self.preprocessor = preprocessor

    @property
    def name(self) -> str:
        """Type of the segmenter, which results made with it are marked with."""
        return type(self.segmenter).__name__

    @torch.no_grad()
    def foreground(self, logits: Tensor, image: Tensor, meta: Mapping[str, Any]) -> Tensor:
        """Where an image shows an object.

        Args:
            logits: Logits of one image, at any resolution. Shape (K + 1, h, w).
            image: The network's input, normalised and perhaps padded. Shape (3, H, W).
            meta: As in `decide_label_map`.

        Returns:
            Mask at the size of the image's file, without padding and flip. bool (ori_H, ori_W).
        """
        pixels = self._pixels(image, meta)  # (h', w', 3)
        probability = resize_without_padding(
            foreground_probability(logits)[None],
            pixels.shape[:2],
            padding_of(meta),
            image.shape[1:],
            resize_score,
        )  # (1, h', w')
        if meta.get('flip', False):
            axes = FLIP_AXES[meta.get('flip_direction', 'horizontal')]
            probability = probability.flip(axes)
            pixels = np.ascontiguousarray(np.flip(pixels, [axis - 1 for axis in axes]))
        mask = self._segment(pixels, probability[0].cpu().numpy())
        mask = torch.from_numpy(mask).to(logits.device, torch.float32)[None, None]
        return F.interpolate(mask, tuple(meta['ori_shape'][:2]), mode='bilinear')[0, 0] > 0.5

    def _segment(self, pixels: np.ndarray, probability: np.ndarray) -> np.ndarray:
        low, threshold, high = BOUNDS
        region = probability >= threshold
        if not region.any():
            return region
        prompts = prompts_with_score(
            [MaskPrompt(1, component_boxes(region), None, region)],
            ForegroundScore(probability, low, threshold, high),
        )
        self.segmenter.to(self.preprocessor.device)
        return self.segmenter.segment(self.segmenter.encode([pixels])[0], prompts)[0]

    def _pixels(self, image: Tensor, meta: Mapping[str, Any]) -> np.ndarray:
        """The image before it was normalised and padded, shrunk, RGB uint8 (h, w, 3)."""
        left, right, top, bottom = padding_of(meta)
        image = image[:, top : image.shape[1] - bottom, left : image.shape[2] - right].float()
        if self.preprocessor._enable_normalize:
            image = image * self.preprocessor.std + self.preprocessor.mean
        if not self.preprocessor._channel_conversion:  # still as OpenCV reads it
            image = image.flip(0)
        pixels = image.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        height, width = pixels.shape[:2]
        scale = min(1.0, self.segmenter.whole_image_side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
