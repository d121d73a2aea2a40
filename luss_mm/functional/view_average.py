"""The label map that several views of an image agree on, in bounded memory."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def argmax_of_average(
    maps: Sequence[Tensor],
    size: tuple[int, int],
    max_bytes: int = 256 * 2**20,
    align_corners: bool = False,
) -> Tensor:
    """Argmax over the classes of the mean of bilinearly resized maps.

    Classes are resized and averaged in chunks against a running maximum, so that never all of them
    are there at full size.

    Args:
        maps: One a view, any float dtype, each at its own resolution. Shape (K, h_v, w_v).
        size: Target size (H, W) in pixels.
        max_bytes: Budget for the full-size maps of a chunk (at least one class at a time).
        align_corners: As in F.interpolate.

    Returns:
        Class of the largest mean, of equals the lowest, int64 in [0, K). Shape (H, W).

    Raises:
        ValueError: If there is no map, no class, or the maps differ in their number of classes.
    """
    if len({len(view) for view in maps}) != 1 or not len(maps[0]):
        shapes = [tuple(view.shape) for view in maps]
        raise ValueError(f'maps must be (K, h, w) with one K >= 1 for all, got {shapes}')
    num_classes = len(maps[0])
    chunk = min(num_classes, max(1, max_bytes // (2 * 4 * size[0] * size[1])))  # sum and addend
    best = labels = None
    for start in range(0, num_classes, chunk):
        part = [view[start : start + chunk] for view in maps]
        value, index = _sum_resized(part, size, align_corners).max(dim=0)
        if best is None:
            best, labels = value, index  # (H, W); the first of equals
            continue
        # strict: an equal later class does not replace an earlier one
        labels = torch.where(value > best, index + start, labels)
        best = torch.maximum(best, value)
    return labels


def _sum_resized(maps: Sequence[Tensor], size: tuple[int, int], align_corners: bool) -> Tensor:
    """Sum over the views, which orders classes as the mean does; float32 (K, H, W)."""
    resized = (
        F.interpolate(view[None].float(), size, mode='bilinear', align_corners=align_corners)[0]
        for view in maps
    )
    total = next(resized)
    for view in resized:
        total += view
    return total
