"""How large the objects of an image are: the four size buckets of the ImageNet-S figures."""

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
