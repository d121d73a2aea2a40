"""Pixel scores of label maps, whole, in boundary bands and by object size."""

import math

import numpy as np
import torch
from torch import Tensor

SIZE_NAMES = ('S', 'MS', 'ML', 'L')  # small, medium-small, medium-large, large
SIZE_PERCENTS = (5, 25, 50)  # upper limits of all buckets but the last, in percent of the image


def instance_sizes(areas: Tensor, image_area: Tensor | int) -> Tensor:
    """Size bucket of every class instance (all pixels of a category in one image).

    p = ceil(100 area / image_area) in exact integers: S is p <= 5, MS p <= 25, ML p <= 50, L above.

    Args:
        areas: Pixels of each instance that are not ignored, int64, >= 0. Shape (q,).
        image_area: Pixels of the image that are not ignored, >= 1.

    Returns:
        Index into `SIZE_NAMES`, int64. Shape (q,).

    Source: ImageNet-S evaluation toolbox (which divides in float32).
    """
    percents = -(-100 * areas // image_area)  # -(-a // b) rounds up
    limits = torch.tensor(SIZE_PERCENTS, device=areas.device)
    return torch.bucketize(percents, limits)


def size_members(categories: Tensor, areas: Tensor) -> Tensor:
    """Which categories of an image count in which size bucket.

    A bucket that holds an instance of the image counts the pixels of its own instances and of 0
    ("others"); a bucket without one counts nothing of the image, not even its background.

    Args:
        categories: Ids that occur in the mask, different, int64. Shape (q,).
        areas: Their pixels outside of ignored ones, int64, >= 0. Shape (q,).

    Returns:
        True where pixels of the category count, bool. Shape (4, q).

    Source: ImageNet-S evaluation toolbox.
    """
    foreground = (categories > 0) & (areas > 0)
    sizes = instance_sizes(areas, areas.sum().clamp(min=1))
    buckets = torch.arange(len(SIZE_NAMES), device=areas.device)[:, None]
    members = (sizes == buckets) & foreground  # (4, q)
    return members | (members.any(dim=1, keepdim=True) & (categories == 0))


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
    """
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


IOU_EPSILON = 1e-10  # official ImageNet-S toolbox: a class without pixels scores 0, not NaN
BETA_SQUARED = 0.3  # weight of precision in the official F-measure


def widen_ids(labels: Tensor) -> Tensor:
    """Make ids comparable with any other id.

    `torch.uint8` labels compared with 1000 are silently compared with 1000 % 256 = 232.

    Args:
        labels: Any integer dtype and shape.

    Returns:
        The same ids: unchanged if int32 or int64, else int32.
    """
    return labels if labels.dtype in (torch.int32, torch.int64) else labels.int()


def joint_counts(
    predicted: Tensor,
    truth: Tensor,
    num_predicted: int,
    num_true: int,
) -> Tensor:
    """Pixel counts of every pair (predicted id, true id), by one bincount.

    Args:
        predicted: Predicted ids in [0, num_predicted), any integer dtype and shape.
        truth: True ids in [0, num_true), any integer dtype, the same shape.
        num_predicted: Number of predicted ids, 0 ("others") included: G + 1.
        num_true: Number of true ids, 0 included: C + 1.

    Returns:
        Counts, int64. Shape (num_predicted, num_true).

    Raises:
        ValueError: If the label maps differ in size.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f'predicted ids {tuple(predicted.shape)} and true ids {tuple(truth.shape)} differ'
        )
    if predicted.numel() == 0:
        return torch.zeros(num_predicted, num_true, dtype=torch.int64, device=truth.device)
    # int32 codes halve the traffic of int64 where all of them fit
    dtype = torch.int32 if num_predicted * num_true < 2**31 else torch.int64
    codes = (predicted.to(dtype) * num_true).add_(truth)
    counts = torch.bincount(codes.flatten(), minlength=num_predicted * num_true)
    return counts.view(num_predicted, num_true)


def rename_rows(counts: Tensor, mapping: np.ndarray | Tensor, num_categories: int) -> Tensor:
    """Apply a matching to counts by generated id: rows of the same category are added.

    Args:
        counts: One row for each generated id. Shape (G + 1, ...).
        mapping: Category id in [0, C] of each generated id, int64; rows of unmatched ids, C + 1,
            are left out. Shape (G + 1,).
        num_categories: C, without "others".

    Returns:
        One row for each category id, dtype of `counts`. Shape (C + 1, ...).
    """
    mapping = torch.as_tensor(mapping, dtype=torch.int64, device=counts.device)
    renamed = counts.new_zeros(num_categories + 2, *counts.shape[1:])  # the last is for C + 1
    return renamed.index_add_(0, mapping, counts)[:-1]


def matched_counts(joint: Tensor, mapping: np.ndarray | Tensor, num_categories: int) -> Tensor:
    """Pixels whose matched id is their true one: the diagonal of the renamed counts.

    Args:
        joint: Counts by generated id and category id. Shape (..., G + 1, C + 1).
        mapping: As in `rename_rows`. Shape (G + 1,).
        num_categories: C.

    Returns:
        One entry for each category id, dtype of `joint`. Shape (C + 1, ...).
    """
    mapping = torch.as_tensor(mapping, dtype=torch.int64, device=joint.device)
    own = mapping.clamp(max=num_categories)  # unmatched rows are left out by rename_rows
    rows = joint[..., torch.arange(len(mapping), device=joint.device), own]  # (..., G + 1)
    return rename_rows(rows.movedim(-1, 0), mapping, num_categories)


def iou_per_class(intersection: Tensor, predicted_area: Tensor, true_area: Tensor) -> Tensor:
    """Intersection over union of each class over a data set.

    Args:
        intersection: Pixels (of the class or of its boundary band) in both. Shape (K + 1, ...).
        predicted_area: Predicted pixels, the same shape.
        true_area: True pixels, the same shape.

    Returns:
        TP / (T + P - TP + 1e-10), float64 in [0, 1]. A class absent from both scores 0, so that the
        mean always has K + 1 terms. Shape (K + 1, ...).

    Source: ImageNet-S evaluation toolbox.
    """
    union = predicted_area + true_area - intersection
    return intersection.double() / (union.double() + IOU_EPSILON)


def mean_over_present(scores: Tensor, true_area: Tensor) -> float | None:
    """Mean score of the classes that the masks contain.

    Args:
        scores: One for each class, floating point. Shape (K + 1,).
        true_area: True pixels of each class. Shape (K + 1,).

    Returns:
        The mean; None if the masks contain no class.
    """
    present = true_area > 0
    return scores[present].mean().item() if present.any() else None


def f_beta_of_areas(
    intersection: Tensor,
    predicted_area: Tensor,
    true_area: Tensor,
    beta_squared: float = BETA_SQUARED,
) -> Tensor:
    """F-beta from the foreground's pixel counts.

    (1 + b) P R / (b P + R) with P = TP / predicted, R = TP / true is (1 + b) TP / (b true +
    predicted), which needs no epsilon unless both areas are empty. No foreground in the prediction,
    in the mask or in both scores 0, as in the official toolbox: an image without any foreground
    earns nothing, even for a prediction that agrees.

    Args:
        intersection: Pixels that are foreground in both, integer. Any shape.
        predicted_area: Foreground pixels of the prediction, the same shape.
        true_area: Foreground pixels of the mask, the same shape.
        beta_squared: Weight b of precision.

    Returns:
        F-beta, float64 in [0, 1], the same shape.

    Source: ImageNet-S evaluation toolbox (beta^2 = .3, as in salient object detection).
    """
    weighted = beta_squared * true_area.double() + predicted_area.double()
    score = (1 + beta_squared) * intersection.double() / weighted
    return torch.where(weighted > 0, score, torch.zeros_like(score))  # 0/0 = NaN where all is empty
