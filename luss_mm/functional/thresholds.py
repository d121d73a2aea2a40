"""Thresholds of foreground scores: of single images, and swept on masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from luss_mm.functional.matching import match_clusters
from luss_mm.functional.score_histograms import otsu_threshold
from luss_mm.functional.scores import iou_per_class, rename_rows

SWEEP_THRESHOLDS = tuple(percent / 100 for percent in range(81))  # PASS: 0 to 80 %
IMAGE_BINS = 256  # of the histogram of one image's scores


@torch.no_grad()
def image_thresholds(scores: Tensor) -> Tensor:
    """Otsu's threshold of each image by itself.

    Args:
        scores: In [0, 1], any float dtype. Shape (B, h, w).

    Returns:
        float32 in [0, 1]. Shape (B,).
    """
    counts = torch.stack([one.float().histc(IMAGE_BINS, 0, 1) for one in scores]).cpu().numpy()
    return torch.tensor([otsu_threshold(row) for row in counts], device=scores.device)


@torch.no_grad()
def centre_scores(scores: Tensor) -> Tensor:
    """Stretch each image's scores so that its own Otsu threshold becomes 1/2.

    Linear from 0 to the threshold t and from t to 1, so order is kept, and one threshold for all
    images cuts every image where its own scores part. An image whose scores all lie in one bin has
    nothing to part: all of it is at 1/2 or above.

    Args:
        scores: In [0, 1], any float dtype. Shape (B, h, w).

    Returns:
        In [0, 1], float32. Shape (B, h, w).
    """
    scores, t = scores.float(), image_thresholds(scores)[:, None, None]
    tiny = torch.finfo(torch.float32).tiny
    below, above = scores / t.clamp_min(tiny), (scores - t) / (1 - t).clamp_min(tiny)
    return torch.where(scores < t, below / 2, (1 + above) / 2).clamp_(0, 1)


@dataclass(frozen=True, eq=False)
class SweepCounts:
    """Additive counts from which every threshold can be scored; see `sweep_counts`.

    Only pairs that occur are stored, so one image takes kilobytes. At K = 919 and 81 thresholds
    dense confusions would take 81 x 920 x 920 x 8 bytes = 548 MB, and as much again in an image's
    result. An entry takes 16 bytes: an image whose clusters reach 400 (level, cluster, category)
    triples 6 KB, the 12,419 validation images of ImageNet-S 80 MB before merging; `best_threshold`
    adds four dense matrices of 7 MB.

    Attributes:
        thresholds: Rising. Length T.
        num_clusters: G.
        num_categories: C.
        truth_pixels: Known pixels of each category id, int64. Shape (C + 1,).
        pixel_keys: Sorted int64 keys (level, cluster - 1, category id) in row-major order over
            (T + 1, G, C + 1); level >= 1 is the number of thresholds reached. Shape (n,).
        pixel_counts: Pixels of each key, int64. Shape (n,).
        image_keys: The same for images: the highest level of the cluster in an image, and a
            foreground category in its mask. Shape (m,).
        image_counts: Images of each key, int64. Shape (m,).
    """

    thresholds: tuple[float, ...]
    num_clusters: int
    num_categories: int
    truth_pixels: np.ndarray
    pixel_keys: np.ndarray
    pixel_counts: np.ndarray
    image_keys: np.ndarray
    image_counts: np.ndarray


def sweep_counts(
    score: np.ndarray,
    cluster_map: np.ndarray,
    truth: np.ndarray,
    num_clusters: int,
    num_categories: int,
    thresholds: Sequence[float] = SWEEP_THRESHOLDS,
    ignore_index: int = 1000,
) -> SweepCounts:
    """Count one image for all thresholds at once. Looks at the mask.

    A pixel is foreground iff score >= t, compared in float32 as `assign_pixels` does.

    Args:
        score: Foreground score. Shape (H, W).
        cluster_map: Generated id of each pixel before any threshold, in [1, G]. Shape (H, W).
        truth: Category ids in [0, C] or `ignore_index`. Shape (H, W).
        num_clusters: G.
        num_categories: C.
        thresholds: Strictly rising, also in float32. Length T.
        ignore_index: Pixels with this truth count nowhere.

    Returns:
        Counts of this image; add images with `merge_sweep_counts`.

    Raises:
        ValueError: If shapes differ, an id is out of range, a score is NaN or thresholds do not
            rise.
    """
    score, cluster_map, truth = (np.asarray(a) for a in (score, cluster_map, truth))
    steps = np.asarray(thresholds, dtype=np.float32)
    if steps.ndim != 1 or len(steps) == 0 or (np.diff(steps) <= 0).any():
        raise ValueError('thresholds must be a strictly rising, non-empty list')
    if not score.shape == cluster_map.shape == truth.shape:
        raise ValueError(f'score {score.shape}, clusters {cluster_map.shape}, mask {truth.shape}')
    known = truth != ignore_index
    score = score[known].astype(np.float32)
    cluster = cluster_map[known].astype(np.int64)
    category = truth[known].astype(np.int64)
    if np.isnan(score).any():
        raise ValueError('a foreground score is NaN')
    for name, ids, low, high in (
        ('cluster_map', cluster, 1, num_clusters),
        ('truth', category, 0, num_categories),
    ):
        if ids.size and (ids.min() < low or ids.max() > high):
            raise ValueError(
                f'{name}: ids {ids.min()} to {ids.max()} are outside of [{low}, {high}]'
            )
    cluster -= 1

    width = num_categories + 1
    level = np.searchsorted(steps, score, side='right')  # number of thresholds <= score
    reached = level > 0  # others are background at every threshold
    keys = (level[reached] * num_clusters + cluster[reached]) * width + category[reached]
    pixel_keys, pixel_counts = np.unique(keys, return_counts=True)

    highest = np.zeros(num_clusters, dtype=np.int64)
    np.maximum.at(highest, cluster[reached], level[reached])
    present = np.flatnonzero(highest)  # (g,)
    truth_pixels = np.bincount(category, minlength=width)
    categories = np.flatnonzero(truth_pixels[1:]) + 1  # (c,)
    image_keys = ((highest[present] * num_clusters + present) * width)[:, None] + categories
    image_keys = np.sort(image_keys.ravel())
    return SweepCounts(
        tuple(float(t) for t in thresholds),
        num_clusters,
        num_categories,
        truth_pixels,
        pixel_keys,
        pixel_counts,
        image_keys,
        np.ones(len(image_keys), dtype=np.int64),
    )


def merge_sweep_counts(parts: Sequence[SweepCounts]) -> SweepCounts:
    """Add counts of images, shards or ranks, in any order and grouping.

    Args:
        parts: At least one, all with the same thresholds and numbers of ids. Merge hundreds at a
            time: the cost is that of sorting all their entries.

    Returns:
        Their sum.

    Raises:
        ValueError: If there are no parts.
    """
    if not parts:
        raise ValueError('no sweep counts to merge: the sweep saw no image')
    first = parts[0]
    return SweepCounts(
        first.thresholds,
        first.num_clusters,
        first.num_categories,
        sum(p.truth_pixels for p in parts),
        *_add_by_key([p.pixel_keys for p in parts], [p.pixel_counts for p in parts]),
        *_add_by_key([p.image_keys for p in parts], [p.image_counts for p in parts]),
    )


def match_by_images(images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The official matching, from what the clusters share with the categories.

    Args:
        images: Images in which they occur together, see `match_clusters`. Shape (G, C).
        pixels: Not looked at.

    Returns:
        Category id of each generated id, int64. Shape (G + 1,).
    """
    return match_clusters(images)


def best_threshold(
    counts: SweepCounts,
    match: Callable[[np.ndarray, np.ndarray], np.ndarray] = match_by_images,
) -> tuple[float, np.ndarray]:
    """Score every threshold with its own matching and take the best mean IoU.

    Args:
        counts: Counts of all images.
        match: Maps shared images (G, C) and shared pixels (G, C) to the category id of each
            generated id (G + 1,). Default: the official Hungarian matching.

    Returns:
        The threshold, of equals the lowest; and the mean IoU over the C + 1 classes at every
        threshold, float64 in [0, 1]. Shape (T,).

    Source: PASS (Gao et al., TPAMI 2022), evaluation with the option `curve`.
    """
    num_clusters, num_categories = counts.num_clusters, counts.num_categories
    foreground = np.zeros((num_clusters, num_categories + 1), dtype=np.int64)  # pixels
    presence = np.zeros_like(foreground)  # images
    scores = np.zeros(len(counts.thresholds))
    for step in reversed(range(len(scores))):  # what reaches a threshold reaches all lower ones
        for dense, keys, values in (
            (foreground, counts.pixel_keys, counts.pixel_counts),
            (presence, counts.image_keys, counts.image_counts),
        ):
            start, stop = np.searchsorted(keys, [dense.size * (step + 1), dense.size * (step + 2)])
            dense.reshape(-1)[keys[start:stop] - dense.size * (step + 1)] += values[start:stop]
        others = counts.truth_pixels - foreground.sum(axis=0)
        pixels = torch.from_numpy(np.concatenate([others[None], foreground]))  # (G + 1, C + 1)
        mapping = match(presence[:, 1:], foreground[:, 1:])
        confusion = rename_rows(pixels, mapping, num_categories)
        scores[step] = iou_per_class(
            confusion.diagonal(), confusion.sum(dim=1), pixels.sum(dim=0)
        ).mean()
    return counts.thresholds[int(scores.argmax())], scores


def _add_by_key(keys: list[np.ndarray], counts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    all_keys, all_counts = np.concatenate(keys), np.concatenate(counts)
    if all_keys.size == 0:
        return all_keys, all_counts
    order = np.argsort(all_keys, kind='stable')
    all_keys, all_counts = all_keys[order], all_counts[order]
    starts = np.flatnonzero(np.diff(all_keys, prepend=all_keys[0] - 1))
    return all_keys[starts], np.add.reduceat(all_counts, starts)
