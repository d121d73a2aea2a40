"""CutMix: boxes of one batch pasted into another, in images, logits and masks alike."""

import torch
from torch import Tensor


def paste_boxes(images: Tensor, others: Tensor, boxes: Tensor) -> Tensor:
    """Replace a box of every image by the same box of another.

    Images, teacher logits and valid masks of one batch stay together if all of them are mixed with
    the same boxes. Gradients pass to both inputs.

    Args:
        images: Any dtype. Shape (B, C, H, W) or (B, H, W).
        others: What is pasted, of the same shape and dtype.
        boxes: left, top, width, height in pixels, int64; a width or height of 0 pastes nothing.
            What reaches over the border is cut off. Shape (B, 4).

    Returns:
        A new tensor like `images`.

    Raises:
        ValueError: If shapes or dtypes do not fit.

    Source: Yun et al. 2019, CutMix, eq. 1.
    """
    if images.shape != others.shape or images.dtype != others.dtype:
        raise ValueError(
            f'images {tuple(images.shape)} of {images.dtype} and others {tuple(others.shape)} of '
            f'{others.dtype} cannot be mixed: both must have one shape and dtype.'
        )
    if images.ndim not in (3, 4) or boxes.shape != (len(images), 4):
        raise ValueError(
            f'images (B, C, H, W) or (B, H, W) and boxes (B, 4) expected, got '
            f'{tuple(images.shape)} and {tuple(boxes.shape)}'
        )
    inside = box_masks(boxes.to(images.device), *images.shape[-2:])
    if images.ndim == 4:
        inside = inside[:, None]  # (B, 1, H, W)
    return torch.where(inside, others, images)


def box_masks(boxes: Tensor, height: int, width: int) -> Tensor:
    """True inside each box.

    Args:
        boxes: left, top, width, height in pixels, int64. Shape (B, 4).
        height: H of the masks.
        width: W of the masks.

    Returns:
        Bool, on the device of the boxes. Shape (B, H, W).
    """
    left, top, box_width, box_height = boxes[:, :, None].unbind(dim=1)  # (B, 1) each
    columns = torch.arange(width, device=boxes.device)
    rows = torch.arange(height, device=boxes.device)
    across = (columns >= left) & (columns < left + box_width)  # (B, W)
    down = (rows >= top) & (rows < top + box_height)  # (B, H)
    return down[:, :, None] & across[:, None, :]
