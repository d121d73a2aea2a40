"""The loss of an image's own classes, and the decayed IoU that weights pseudo-labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.image_tally import check_ids
from luss_mm.functional.pixel_assignment import resize_argmax
from luss_mm.functional.ranks import sum_over_ranks, world_size


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
        counts: Counts of this rank's images, int64, the same shape.
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
        iou: IoU of each class, in [0, 1]. Shape (K,).
        tags: Whether the class is in C(x), bool; one or more in every image. Shape (B, K).
        power: Large values trust well-known classes only.

    Returns:
        float32 in [0, 1]. Shape (B,).

    Source: Wang et al. 2022, progressive cross training.
    """
    return iou[tagged_ids(tags)].amin(dim=1).pow(power).float()


UNCOUNTED = -100  # torch's own mark of targets that count nowhere


def class_aware_cross_entropy(
    logits: Tensor,
    tags: Tensor,
    labels: Tensor,
    ignore_index: int,
    weights: Tensor | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Cross entropy of a softmax over nothing but the classes C(x) of each image.

    Loss of a pixel: -f_y + log sum_{c in C(x)} exp f_c. The classes are picked before the logits
    are resized, so that the largest tensor is (B, M, H, W) with M the most classes that an image
    has, whatever K is. The work is done in float32.

    Args:
        logits: At any resolution, resized bilinearly to that of the labels; any float dtype. Shape
            (B, K, h, w).
        tags: Whether each class is in C(x), bool; one or more in every image. Shape (B, K).
        labels: Ids in [0, K) or `ignore_index`, int64. A pixel whose id is not in C(x) has no
            probability to raise: it is left out like an ignored one (`share_outside_tags` tells
            how many there are). Shape (B, H, W).
        ignore_index: Id of pixels that count nowhere.
        weights: Weights of each image's pixels; None for 1. Shape (B,).
        align_corners: As in F.interpolate.

    Returns:
        Mean of weight x loss over the counted pixels of all images and all ranks, float32: an image
        with more counted pixels counts more, one without any contributes nothing, and N ranks
        (whose gradients are averaged) give what one gives. 0 if no pixel counts. Shape ().

    Raises:
        ValueError: If an id is out of range.

    Source: Wang et al., Learning pseudo labels for semi-and-weakly supervised semantic segmentation
    (Pattern Recognition 2022), class-aware cross entropy.
    """
    ids = tagged_ids(tags)  # (B, M)
    targets = _places_among_tags(tags, labels, ignore_index)
    maps = F.interpolate(
        _pick_classes(logits, ids).float(),
        labels.shape[1:],
        mode='bilinear',
        align_corners=align_corners,
    )  # (B, M, H, W)
    repeated = torch.arange(ids.shape[1], device=ids.device) >= tags.sum(dim=1, keepdim=True)
    maps.masked_fill_(repeated[:, :, None, None], -torch.inf)
    losses = F.cross_entropy(maps, targets, ignore_index=UNCOUNTED, reduction='none')
    image_losses = losses.sum(dim=(1, 2))  # (B,)
    if weights is not None:
        image_losses = image_losses * weights
    return _mean_over_ranks(image_losses.sum(), (targets != UNCOUNTED).sum())


@torch.no_grad()
def restricted_argmax(
    logits: Tensor, tags: Tensor, size: tuple[int, int], align_corners: bool = False
) -> Tensor:
    """The most likely of each image's own classes, at every pixel.

    Args:
        logits: At any resolution, resized bilinearly; any float dtype. Shape (B, K, h, w).
        tags: Whether each class may be predicted, bool; one or more in every image. Shape (B, K).
        size: Wanted (H, W) in pixels.
        align_corners: As in F.interpolate.

    Returns:
        Ids, of equals the lowest, int64 in [0, K). Shape (B, H, W).
    """
    ids = tagged_ids(tags)
    picked = _pick_classes(logits, ids)
    places = resize_argmax(picked, size, align_corners=align_corners)  # (B, H, W)
    return ids.gather(1, places.flatten(1)).view_as(places)


def image_tag_loss(logits: Tensor, tags: Tensor, valid: Tensor) -> Tensor:
    """Multi-label soft margin loss of the largest logit of each class.

    Loss of an image: mean over its classes of -log sigmoid(m) where tagged, -log sigmoid(-m) where
    not, m the largest logit over the cells that saw a valid pixel. Maxima are taken at the logits'
    own resolution and worked on in float32.

    Args:
        logits: Logits of the classes whose presence is to be told (no background, which is
            everywhere); any float dtype. Shape (B, K, h, w).
        tags: Whether the image has the class, bool. Shape (B, K).
        valid: False in the padding, bool. Shape (B, H, W).

    Returns:
        Mean over the images of all ranks that have a valid pixel, float32; 0 without such images or
        classes. Shape ().
    """
    saw_image = F.adaptive_max_pool2d(valid[:, None].float(), logits.shape[2:]) > 0  # (B, 1, h, w)
    counted = saw_image.flatten(1).any(dim=1)  # (B,)
    pooled = logits.masked_fill(~saw_image, -torch.inf).flatten(2).max(dim=2).values.float()
    pooled = pooled.masked_fill(~counted[:, None], 0)
    losses = F.binary_cross_entropy_with_logits(pooled, tags.float(), reduction='none')
    image_losses = losses.sum(dim=1) / max(1, tags.shape[1]) * counted
    return _mean_over_ranks(image_losses.sum(), counted.sum())


@torch.no_grad()
def share_outside_tags(labels: Tensor, tags: Tensor, ignore_index: int) -> Tensor:
    """Share of labelled pixels whose class the image's tags do not name; 0 where tags fit masks.

    Args:
        labels: As in `class_aware_cross_entropy`. Shape (B, H, W).
        tags: Shape (B, K).
        ignore_index: Id of pixels that count nowhere.

    Returns:
        float32 in [0, 1]; 0 if nothing is labelled. Shape ().
    """
    known = labels != ignore_index
    places = _places_among_tags(tags, labels, ignore_index)
    return (known & (places == UNCOUNTED)).sum() / known.sum().clamp(min=1)


def tagged_ids(tags: Tensor) -> Tensor:
    """The classes of each image as a list of ids.

    Args:
        tags: Whether the image has the class, bool. Shape (B, K).

    Returns:
        Ids, ascending, int64; an image with fewer than M, the most that an image has, repeats its
        first one at the end. Shape (B, M).
    """
    counts = tags.sum(dim=1, keepdim=True)  # (B, 1)
    most = int(counts.max())
    ids = tags.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    return torch.where(torch.arange(most, device=ids.device) < counts, ids, ids[:, :1])


def _pick_classes(logits: Tensor, ids: Tensor) -> Tensor:
    """Logits of the listed classes: (B, K, h, w) and (B, M) -> (B, M, h, w)."""
    return logits[torch.arange(len(ids), device=ids.device)[:, None], ids]


def _places_among_tags(tags: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Place of each label among its image's ascending ids, `UNCOUNTED` where there is none.

    Shape (B, H, W), int64.
    """
    known = labels != ignore_index
    labels = torch.where(known, labels, 0)
    check_ids('label map', labels, tags.shape[1] - 1, 'num_classes - 1', ignore_index)
    places = (tags.cumsum(dim=1) - 1).masked_fill(~tags, UNCOUNTED)  # (B, K)
    return places.gather(1, labels.flatten(1)).view_as(labels).masked_fill(~known, UNCOUNTED)


def _mean_over_ranks(total: Tensor, count: Tensor) -> Tensor:
    """This rank's part of a mean: the parts' mean over ranks is all totals by all counts."""
    return total * world_size() / sum_over_ranks(count).clamp(min=1)
