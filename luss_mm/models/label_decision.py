"""From a network's logits to the label map of an image, in bounded memory."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.pixel_assignment import resize_argmax

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
        logits: Of one image, at any resolution, resized bilinearly. Shape (K, h, w).
        meta: `ori_shape` and, where padded or flipped, `img_padding_size` or `padding_size`,
            `flip` and `flip_direction`.
        input_size: Of the padded network input, (H, W) in pixels.
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
        logits: Of one image, at any resolution. Shape (K, h, w).
        meta: As in `decide_label_map`.
        input_size: Of the padded network input, (H, W) in pixels.
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
        maps: Of the padded input, at any resolution. Shape (B, ..., h, w).
        size: Of the image in the result, (H, W).
        padding: Of `padding_of`.
        input_size: Of the padded input, (H, W) in pixels.
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
