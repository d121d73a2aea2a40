"""How well each class is segmented of late, and how far to trust a label map that contains it."""

import torch
from torch import Tensor

from luss_mm.functional.class_aware_loss import tagged_ids
from luss_mm.functional.image_tally import check_ids
from luss_mm.functional.ranks import sum_over_ranks


@torch.no_grad()
def class_pixels(predicted: Tensor, truth: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Pixels of each class in both label maps, in the predicted and in the true one.

    Args:
        predicted: Ids in [0, K), int64. Any shape.
        truth: Ids in [0, K) or `ignore_index`, int64, the same shape.
        num_classes: K.
        ignore_index: Pixels with this true id count in no row.

    Returns:
        Rows intersection, predicted, truth, int64. Shape (3, K).

    Raises:
        ValueError: If an id is out of range.
    """
    known = truth != ignore_index
    predicted, truth = predicted[known], truth[known]
    if truth.numel():
        check_ids('prediction', predicted, num_classes - 1, 'num_classes - 1')
        check_ids('mask', truth, num_classes - 1, 'num_classes - 1', ignore_index)
    rows = (truth[predicted == truth], predicted, truth)
    return torch.stack([torch.bincount(row, minlength=num_classes) for row in rows])


@torch.no_grad()
def decayed_sum(running: Tensor, counts: Tensor, decay: float = 0.99) -> Tensor:
    """Running counts one iteration later: decay x running + the counts of all ranks.

    Args:
        running: Counts of earlier iterations, equal on all ranks, float64 (a rare class decays for
            thousands of iterations). Any shape.
        counts: Of this rank's images, int64, the same shape.
        decay: Share of the old counts that is kept.

    Returns:
        A new tensor, float64, equal on all ranks.

    Source: Wang et al. 2022, progressive cross training (the decay is that of their code).
    """
    return running * decay + sum_over_ranks(counts)


def recent_iou(running: Tensor) -> Tensor:
    """IoU of each class from running counts.

    Args:
        running: Rows intersection, predicted, truth, float64. Shape (3, K).

    Returns:
        IoU, float64 in [0, 1]; 0 for a class that neither label maps nor predictions had so far.
        Shape (K,).
    """
    intersection, predicted, truth = running
    union = predicted + truth - intersection
    return torch.where(union > 0, intersection / union, 0)  # 0/0 is not chosen


def progressive_weights(iou: Tensor, tags: Tensor, power: float = 8) -> Tensor:
    """Weight of each image's pseudo-labels: (min_{c in C(x)} IoU_c)^power.

    A class that is never met gives its images the weight 0. (The published code replaces a zero IoU
    by 1, so that what the network cannot segment at all gets full weight.)

    Args:
        iou: Of each class, in [0, 1]. Shape (K,).
        tags: Whether the class is in C(x), bool; one or more in every image. Shape (B, K).
        power: Large values trust well-known classes only.

    Returns:
        float32 in [0, 1]. Shape (B,).

    Raises:
        ValueError: If an image has no tag.

    Source: Wang et al. 2022, progressive cross training.
    """
    return iou[tagged_ids(tags)].amin(dim=1).pow(power).float()
