"""How well clusters fit categories."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment


def contingency(
    clusters: ArrayLike, categories: ArrayLike, num_clusters: int, num_categories: int
) -> np.ndarray:
    """Count the samples of every pair (cluster, category). Counts of shards or ranks add up.

    Args:
        clusters: Cluster index of each sample, integer in [0, num_clusters). Shape (N,).
        categories: Category index of each sample, integer in [0, num_categories). Shape (N,).
        num_clusters: K.
        num_categories: C.

    Returns:
        Counts, int64. Shape (K, C).

    Raises:
        ValueError: If the lengths differ or an index is out of range.
    """
    clusters, categories = np.asarray(clusters), np.asarray(categories)
    if clusters.ndim != 1 or clusters.shape != categories.shape:
        raise ValueError(f'clusters {clusters.shape} and categories {categories.shape} differ')
    for name, indices, limit in (
        ('cluster', clusters, num_clusters),
        ('category', categories, num_categories),
    ):
        if indices.size and (indices.min() < 0 or indices.max() >= limit):
            raise ValueError(
                f'{name} indices {indices.min()} to {indices.max()} are not in [0, {limit})'
            )
    pairs = clusters.astype(np.int64) * num_categories + categories  # uint8 would overflow
    return np.bincount(pairs, minlength=num_clusters * num_categories).reshape(
        num_clusters, num_categories
    )


def clustering_accuracy(counts: np.ndarray) -> float:
    """Share of samples in the category that their cluster is matched to, one to one (Hungarian).

    Args:
        counts: Contingency matrix, see `contingency`. With K > C the surplus clusters are wrong
            throughout, with K < C the surplus categories. Shape (K, C).

    Returns:
        Accuracy in [0, 1].

    Raises:
        ValueError: If there are no samples.
    """
    counts = _checked(counts)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def normalized_mutual_information(counts: np.ndarray) -> float:
    """Mutual information of clusters and categories over the arithmetic mean of their entropies.

    If all samples are in one cluster and in one category, both say the same: 1. If only one of the
    two is constant it says nothing about the other: 0.

    Args:
        counts: Contingency matrix, see `contingency`. Shape (K, C).

    Returns:
        NMI in [0, 1].

    Raises:
        ValueError: If there are no samples.

    Source: Vinh, Epps, Bailey, Information Theoretic Measures for Clusterings Comparison (2010).
    """
    joint = _checked(counts) / counts.sum()  # (K, C)
    by_cluster, by_category = joint.sum(axis=1), joint.sum(axis=0)
    mean_entropy = (_entropy(by_cluster) + _entropy(by_category)) / 2
    if mean_entropy == 0:
        return 1.0
    cluster, category = np.nonzero(joint)
    seen = joint[cluster, category]
    information = seen @ np.log(seen / (by_cluster[cluster] * by_category[category]))
    return float(np.clip(information / mean_entropy, 0, 1))  # rounding can leave [0, 1]


def _checked(counts: np.ndarray) -> np.ndarray:
    if counts.ndim != 2 or not counts.sum() > 0:
        raise ValueError(f'a contingency matrix (K, C) with samples is needed, got {counts.shape}')
    return counts


def _entropy(shares: np.ndarray) -> float:
    shares = shares[(shares > 0) & (shares < 1)]
    return float(-(shares @ np.log(shares)))
