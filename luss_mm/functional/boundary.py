"""The band of pixels along the contours of a label map, as boundary IoU needs it."""

import math

import torch
from torch import Tensor


def boundary_radius(height: int, width: int, ratio: float = 0.03) -> int:
    """Radius of the boundary band of an image.

    Args:
        height: Image height in pixels.
        width: Image width in pixels.
        ratio: Radius as a share of the image diagonal.

    Returns:
        max(1, round(ratio * diagonal)) in pixels, halves rounded to the even neighbour.

    Source: Cheng et al., Boundary IoU, CVPR 2021; .03 from the ImageNet-S evaluation toolbox.
    """
    return max(1, round(ratio * math.sqrt(height * height + width * width)))


def boundary_mask(labels: Tensor, radius: int) -> Tensor:
    """Pixels in the boundary band of their own class, for all classes in one pass.

    A pixel is in the band when the (2 radius + 1)^2 window around it leaves the class or the image.
    This equals taking every class's binary mask minus its 3x3 erosion iterated `radius` times with
    the border counted as outside, but costs O(H W log r) whatever the number of classes.

    Args:
        labels: Label map, any integer dtype and ids (ignored pixels are a class of their own), on
            any device. Shape (H, W) or (B, H, W).
        radius: Half width r of the window in pixels, >= 1.

    Returns:
        True in the band, bool, shape and device of `labels`.

    Raises:
        ValueError: If the radius is below 1 or the labels are not two- or three-dimensional.
    """
    if radius < 1:
        raise ValueError(f'a boundary band needs a radius >= 1, got {radius}')
    if labels.ndim not in (2, 3):
        raise ValueError(f'labels are (H, W) or (B, H, W), got {tuple(labels.shape)}')
    band = torch.ones(labels.shape, dtype=torch.bool, device=labels.device)
    height, width = labels.shape[-2:]
    if min(height, width) <= 2 * radius:
        return band  # every window leaves the image

    # differs[y, x]: pixel (y + 1, x + 1) is unlike its left or its upper neighbour  (H-1, W-1)
    differs = labels[..., 1:, 1:] != labels[..., 1:, :-1]
    differs |= labels[..., 1:, 1:] != labels[..., :-1, 1:]
    mixed = _any_in_window(_any_in_window(differs, 2 * radius, -1), 2 * radius, -2)
    # The pairs of neighbours tie all pixels of a window together but its upper left one.
    centre = labels[..., radius : height - radius, radius : width - radius]  # (H-2r, W-2r)
    mixed |= labels[..., : height - 2 * radius, : width - 2 * radius] != centre
    band[..., radius : height - radius, radius : width - radius] = mixed
    return band


def _any_in_window(marks: Tensor, length: int, dim: int) -> Tensor:
    """Whether any of `length` neighbouring marks along an axis is set, in log2(length) steps.

    Args:
        marks: bool, n >= length entries along `dim`.
        length: Number of entries in a window.
        dim: The axis.

    Returns:
        bool, n - length + 1 entries along `dim`: one for each window inside.
    """
    covered = 1  # entries that each mark speaks for by now
    while covered < length:
        step = min(covered, length - covered)
        windows = marks.size(dim) - step
        marks = marks.narrow(dim, 0, windows) | marks.narrow(dim, step, windows)
        covered += step
    return marks
