"""Matching of generated clusters to categories by the images in which they occur together."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

MATCHING_RULE = (
    'Hungarian maximum of the number of images whose prediction contains the cluster and whose '
    'mask contains the category, outside of ignored pixels; ties as '
    'scipy.optimize.linear_sum_assignment breaks them; clusters without a category become 0'
)


def image_presence(labels: Tensor, num_ids: int) -> Tensor:
    """Which ids occur in a label map.

    Args:
        labels: Ids in [0, num_ids), any integer dtype and shape. Ignored pixels are dropped before.
        num_ids: Number of ids, 0 ("others") included.

    Returns:
        True where the id occurs, bool. Shape (num_ids,).

    Raises:
        ValueError: If an id is outside of [0, num_ids).
    """
    if labels.numel() == 0:
        return torch.zeros(num_ids, dtype=torch.bool, device=labels.device)
    lowest, highest = (int(value) for value in torch.aminmax(labels))
    if lowest < 0 or highest >= num_ids:
        raise ValueError(f'label ids {lowest} to {highest} are outside of [0, {num_ids})')
    return torch.bincount(labels.flatten(), minlength=num_ids) > 0


def presence_counts(cluster_presence: Tensor, category_presence: Tensor) -> Tensor:
    """Number of images in which a cluster and a category occur together, foreground only.

    Args:
        cluster_presence: Row i says which generated ids occur in prediction i, bool, column 0 is
            "others". Shape (N, G + 1).
        category_presence: Row i says which categories occur in mask i, bool. Shape (N, C + 1).

    Returns:
        N[g, c] for clusters g + 1 and categories c + 1, int64. Shape (G, C).

    Raises:
        ValueError: If the two inputs differ in their number of images.

    Source: ImageNet-S evaluation toolbox, fully unsupervised protocol.
    """
    if len(cluster_presence) != len(category_presence):
        raise ValueError(f'{len(cluster_presence)} predictions for {len(category_presence)} masks')
    # float64 counts are exact up to 2^53, and CUDA has no integer matrix product
    product = cluster_presence[:, 1:].double().T @ category_presence[:, 1:].double()
    return product.to(torch.int64)


def match_clusters(presence: np.ndarray) -> np.ndarray:
    """Match clusters one to one to categories so that the summed presence is greatest.

    Every cluster gets a category while there are some left, also one that it never meets. With more
    clusters than categories (G > C) the clusters left over become "others": they map to 0. With
    fewer, the categories left over get no cluster.

    Ties: which of several equally good matchings is taken follows from the order of rows and
    columns, as scipy's `linear_sum_assignment` works through them. The same matrix always gives the
    same answer (float64 is exact on counts); renumbered clusters may get another of the best.

    Args:
        presence: Counts of images in which cluster g + 1 and category c + 1 occur together
            (`presence_counts`), integer, >= 0. Shape (G, C).

    Returns:
        Category id of each generated id, int64, entry 0 is 0. Shape (G + 1,).

    Raises:
        ValueError: If the counts are not a matrix of non-negative integers.

    Source: ImageNet-S evaluation toolbox (which solves the same problem with munkres).
    """
    presence = np.asarray(presence)
    if presence.ndim != 2 or not np.issubdtype(presence.dtype, np.integer):
        raise ValueError(
            f'presence counts are a (G, C) integer matrix, got {presence.shape} {presence.dtype}'
        )
    if presence.size and presence.min() < 0:
        raise ValueError(f'presence counts are not negative, got {presence.min()}')
    mapping = np.zeros(len(presence) + 1, dtype=np.int64)
    clusters, categories = linear_sum_assignment(presence, maximize=True)
    mapping[clusters + 1] = categories + 1
    return mapping
