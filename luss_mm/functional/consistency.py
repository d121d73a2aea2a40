"""DSSN: mixed views, selected pseudo-labels, and views whose logits agree."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.ranks import sum_over_ranks, world_size


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

    Source: Yun et al. 2019, CutMix, eq. 1.
    """
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
        logits: Logits of the network that labels the pixels, any float dtype. Shape (B, K, H, W).
        valid: False at padding, bool. Shape (B, H, W).
        certain: A class that is nowhere more probable than this selects nothing.
        fraction: Share of a certain class's largest probability that a pixel has to exceed.

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
