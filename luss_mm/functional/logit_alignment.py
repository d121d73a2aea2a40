"""Two disturbed views of an image agree: perturbed features, and the distance of their logits."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.ranks import sum_over_ranks, world_size

EPS = 1e-5  # added to the variance, as in layer norm: pixels of equal logits get zeros


def standardize_logits(logits: Tensor, eps: float = EPS) -> Tensor:
    """Logits with mean 0 and variance 1 over the classes of each pixel.

    Args:
        logits: Any float dtype, two classes or more. Shape (B, K, ...).
        eps: Added to the variance (with K - 1 degrees of freedom).

    Returns:
        float32. Shape (B, K, ...).
    """
    variance, mean = torch.var_mean(logits.float(), dim=1, keepdim=True)
    return (logits.float() - mean) * (variance + eps).rsqrt()


def alignment_loss(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference of standardised logits.

    Args:
        first: Logits, any float dtype. Shape (B, K, H, W).
        second: Logits of the other view; both get gradients. Shape (B, K, H, W).
        valid: Pixels that count, bool. Shape (B, H, W).

    Returns:
        Mean over the classes and the valid pixels of all ranks, float32, so that N ranks (whose
        gradients are averaged) give what one gives. 0 with a gradient of zeros without valid
        pixels. Shape ().

    Source: Tian et al., Improving semi-supervised semantic segmentation with dual-level Siamese
    structure network (ACM Multimedia 2023), pixel-wise contrastive loss on positive pairs.
    """
    difference = standardize_logits(first) - standardize_logits(second)
    total = (difference.square().mean(dim=1) * valid).sum()
    return total * world_size() / sum_over_ranks(valid.sum()).clamp(min=1)


def perturb_features(
    features: Sequence[Tensor], rate: float = 0.5, levels: Sequence[int] | None = None
) -> list[Tensor]:
    """Drop whole channels of feature maps, and scale up the others by 1 / (1 - rate).

    Args:
        features: Levels, each (B, C, h, w).
        rate: Probability with which a channel of an image is dropped.
        levels: Indices of the levels to perturb, negative ones from the end; None for all.

    Returns:
        New tensors for the perturbed levels, the given ones for the others.

    Raises:
        ValueError: If there is no such level.
    """
    count = len(features)
    chosen = range(count) if levels is None else levels
    if any(not -count <= level < count for level in chosen):
        raise ValueError(
            f'levels {list(chosen)} cannot be perturbed: the backbone gives {count} feature levels'
        )
    places = {level % count for level in chosen}
    return [F.dropout2d(f, rate) if i in places else f for i, f in enumerate(features)]
