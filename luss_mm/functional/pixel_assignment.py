"""From features or logits to label maps at image size, in bounded memory."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from luss_mm.functional.pixel_attention import upsample_features


def assign_pixels(
    features: Tensor,
    centroids: Tensor,
    foreground_score: Tensor,
    threshold: float,
    size: tuple[int, int],
) -> Tensor:
    """Label every pixel with its most similar centroid, or 0 where the foreground score is low.

    Args:
        features: Pixel features, see `label_by_centroid`. Shape (B, C, h, w).
        centroids: Shape (K, C).
        foreground_score: Any float dtype, its own resolution. Shape (B, h', w').
        threshold: A pixel is foreground iff score >= threshold (compared in float32).
        size: Image size (H, W) in pixels.

    Returns:
        Labels, int64 in [0, K]. Shape (B, H, W).

    Source: PASS (Gao et al., TPAMI 2022), pixel label generation.
    """
    labels = label_by_centroid(features, centroids, size)
    return labels.masked_fill_(resize_score(foreground_score, size) < threshold, 0)


@torch.no_grad()
def label_by_centroid(
    features: Tensor, centroids: Tensor, size: tuple[int, int], scale: int = 1
) -> Tensor:
    """Label every pixel with its most similar centroid.

    label = argmax_k cos(f, centroid_k) + 1 at the resolution of the features after
    `upsample_features`, of equals (after rounding) the lowest k, then `resize_nearest` to `size`.
    Products with centroids are linear, so they are taken before enlarging, s^2 times fewer of them.
    Similarities are float32, also under autocast: B x K x s h x s w x 4 bytes (K = 919, 64 x 64:
    15 MB an image).

    Args:
        features: Any float dtype and length (only directions count); a zero vector takes label 1.
            Shape (B, C, h, w).
        centroids: Shape (K, C).
        size: Image size (H, W) in pixels.
        scale: s, by which the features are to be enlarged.

    Returns:
        Labels, int64 in [1, K]. Shape (B, H, W).
    """
    directions = F.normalize(centroids.to(features.device).float(), dim=1)
    with torch.autocast(features.device.type, enabled=False):
        # A feature's own length scales all its similarities alike: the argmax needs no division.
        similarity = torch.einsum('bchw,kc->bkhw', features.float(), directions)
        similarity = upsample_features(similarity, scale)
    labels = similarity.argmax(dim=1) + 1  # (B, s h, s w)
    return resize_nearest(labels, size)


def resize_nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a label map to another size: each new pixel takes the old one that its centre lies in.

    The geometry of bilinear resizing with align_corners=False, in integers and so the same on every
    device. (The published code takes the old pixel of the new one's upper left corner.)

    Args:
        labels: Any dtype. Shape (..., h, w).
        size: (H, W).

    Returns:
        The same dtype. Shape (..., H, W).
    """
    rows = _nearest_cells(labels.shape[-2], size[0], labels.device)
    columns = _nearest_cells(labels.shape[-1], size[1], labels.device)
    return labels.index_select(-1, columns).index_select(-2, rows)  # whole rows are copied


@torch.no_grad()
def resize_score(score: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a foreground score bilinearly (align_corners=False).

    Args:
        score: Any float dtype. Shape (B, h, w).
        size: Image size (H, W) in pixels.

    Returns:
        Score, float32. Shape (B, H, W).
    """
    return F.interpolate(
        score[:, None].float(), size=size, mode='bilinear', align_corners=False
    ).squeeze(1)


@torch.no_grad()
def foreground_probability(logits: Tensor) -> Tensor:
    """One minus the softmax probability of class 0, exact also where that is near 1.

    Args:
        logits: Any float dtype, of two or more classes. Shape (K + 1, ..., h, w).

    Returns:
        Probability, float32 in [0, 1]. Shape (..., h, w).
    """
    logits = logits.float()
    return torch.sigmoid(logits[1:].logsumexp(dim=0) - logits[0])


@torch.no_grad()
def resize_argmax(
    logits: Tensor,
    size: tuple[int, int],
    max_bytes: int = 256 * 2**20,
    align_corners: bool = False,
) -> Tensor:
    """Argmax over the classes of bilinearly resized logits without ever holding all resized maps.

    Classes are resized in chunks against a running maximum; the result is that of
    `F.interpolate(logits.float(), size, mode='bilinear').argmax(1)`. (Where two classes agree to
    the last bit or two of float32 torch's own answer varies: its kernel rounds equal channels
    differently, by their place in memory.) K = 920 at 2592 x 1944 is 18.5 GB of float32 maps; here
    one map is 20 MB, a chunk of 13 maps 262 MB, and the two pairs of maximum and label map another
    121 MB (measured on a CPU: 372 MB in all; with `max_bytes` = 64 MiB 180 MB, half as fast).

    Args:
        logits: Any float dtype; each chunk is upcast to float32. Shape (B, K, h, w).
        size: Target size (H, W) in pixels.
        max_bytes: Budget for the resized maps of a chunk (at least one class at a time).
        align_corners: As in F.interpolate.

    Returns:
        Class of the largest logit, of equals the lowest, int64 in [0, K). Shape (B, H, W).
    """
    batch, num_classes = logits.shape[:2]
    area = batch * size[0] * size[1]
    chunk = min(num_classes, max(1, max_bytes // max(1, 4 * area)))
    # One buffer for all chunks: fresh memory for each costs a CPU more than the arithmetic.
    buffer = logits.new_empty(chunk * area, dtype=torch.float32)
    best = value = labels = index = None
    for start in range(0, num_classes, chunk):
        part = logits[:, start : start + chunk].float().contiguous()
        maps = buffer[: part.shape[1] * area].view(batch, -1, *size)
        torch.ops.aten.upsample_bilinear2d.out(part, size, align_corners, None, None, out=maps)
        if best is None:
            best, labels = maps.max(dim=1)  # (B, H, W); the first of equals
            continue
        if value is None:
            value, index = torch.empty_like(best), torch.empty_like(labels)
        torch.max(maps, dim=1, out=(value, index))
        index += start
        # strict: an equal later class does not replace an earlier one
        torch.where(value > best, index, labels, out=labels)
        torch.maximum(best, value, out=best)
    return labels


def _nearest_cells(cells: int, pixels: int, device: torch.device) -> Tensor:
    """Cell that each pixel's centre lies in, int64 (pixels,): floor((i + 1/2) cells / pixels)."""
    centres = 2 * torch.arange(pixels, device=device) + 1
    return torch.div(centres * cells, 2 * pixels, rounding_mode='floor')


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
    """
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
