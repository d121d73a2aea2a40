"""Scores of label maps from pixel counts: confusion, IoU, F-beta, the dominant id of an image."""

import numpy as np
import torch
from torch import Tensor

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
        ValueError: If shapes differ or an id is out of range.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f'predicted ids {tuple(predicted.shape)} and true ids {tuple(truth.shape)} differ'
        )
    if predicted.numel() == 0:
        return torch.zeros(num_predicted, num_true, dtype=torch.int64, device=truth.device)
    for name, ids, limit in (('predicted', predicted, num_predicted), ('true', truth, num_true)):
        lowest, highest = (int(value) for value in torch.aminmax(ids))
        if lowest < 0 or highest >= limit:
            raise ValueError(f'{name} ids {lowest} to {highest} are outside of [0, {limit})')
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

    Raises:
        ValueError: If the mapping does not have one entry a row.
    """
    mapping = torch.as_tensor(mapping, dtype=torch.int64, device=counts.device)
    if mapping.shape != counts.shape[:1]:
        raise ValueError(f'{tuple(mapping.shape)} mapped ids for counts {tuple(counts.shape)}')
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
