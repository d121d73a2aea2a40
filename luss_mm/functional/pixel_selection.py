"""Which pixels of an unlabelled image teach, and the cross entropy on them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.ranks import sum_over_ranks, world_size

UNCOUNTED = -100  # torch's own mark of targets that count nowhere


@torch.no_grad()
def select_class_aware(
    logits: Tensor, valid: Tensor, certain: float = 0.92, fraction: float = 0.96
) -> Tensor:
    """Pixels that are among the most probable of some class in their image.

    M_c is the largest probability p_c of the image's valid pixels, tau_c = fraction x M_c if
    M_c > certain, else M_c; a valid pixel is selected if p_c > tau_c for one or more c. No p_c
    exceeds M_c, so classes with M_c <= certain select nothing. Images are worked on one after the
    other in float32: beside the logits there are no more than two maps of one image (K, H, W).

    Args:
        logits: Of the network that labels the pixels, any float dtype. Shape (B, K, H, W).
        valid: False at padding, bool. Shape (B, H, W).
        certain: A class that is nowhere more probable than this selects nothing.
        fraction: Of a certain class's largest probability that a pixel has to exceed.

    Returns:
        bool, never True outside of `valid`. Shape (B, H, W).

    Source: Tian et al., Improving semi-supervised semantic segmentation with dual-level Siamese
    structure network (ACM Multimedia 2023), class-aware pseudo-label selection.
    """
    selected = torch.empty_like(valid)
    for image_logits, image_valid, chosen in zip(logits, valid, selected, strict=True):
        probability = image_logits.float().softmax(dim=0)  # (K, H, W)
        largest = probability.masked_fill(~image_valid, 0).amax(dim=(1, 2))  # (K,)
        classes = (largest > certain).nonzero().flatten()
        thresholds = fraction * largest[classes, None, None]
        chosen.copy_((probability[classes] > thresholds).any(dim=0) & image_valid)
    return selected


def select_all(logits: Tensor, valid: Tensor) -> Tensor:
    """Every valid pixel; see `select_class_aware`."""
    return valid


def selected_cross_entropy(
    logits: Tensor, labels: Tensor, selected: Tensor, valid: Tensor
) -> Tensor:
    """Cross entropy of the selected pixels, summed and divided by the number of all valid ones.

    Args:
        logits: Any float dtype; the work is done in float32. Shape (B, K, H, W).
        labels: Ids in [0, K), int64; looked at in selected pixels only. Shape (B, H, W).
        selected: Pixels that teach, bool; those outside of `valid` do not count. Shape (B, H, W).
        valid: False at padding, bool. Shape (B, H, W).

    Returns:
        float32, with valid pixels counted on all ranks, so that N ranks (whose gradients are
        averaged) give what one gives. 0 with a gradient of zeros if nothing is selected or valid.
        Shape ().
    """
    targets = labels.masked_fill(~(selected & valid), UNCOUNTED)
    total = F.cross_entropy(logits.float(), targets, ignore_index=UNCOUNTED, reduction='sum')
    return total * world_size() / sum_over_ranks(valid.sum()).clamp(min=1)
