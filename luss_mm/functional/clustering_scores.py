"""How good a clustering is: against categories, by silhouette, by the use of its clusters."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

if TYPE_CHECKING:
    from torch import Tensor


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
    """
    clusters, categories = np.asarray(clusters), np.asarray(categories)
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
    """
    from scipy.optimize import linear_sum_assignment  # .4 s, which a rule of thumb does not need

    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def normalized_mutual_information(counts: np.ndarray) -> float:
    """Mutual information of clusters and categories over the arithmetic mean of their entropies.

    If all samples are in one cluster and in one category, both say the same: 1. If only one of the
    two is constant it says nothing about the other: 0.

    Args:
        counts: Contingency matrix, see `contingency`. Shape (K, C).

    Returns:
        NMI in [0, 1].

    Source: Vinh, Epps, Bailey, Information Theoretic Measures for Clusterings Comparison (2010).
    """
    apart = _entropy(counts.sum(axis=1)) + _entropy(counts.sum(axis=0))
    if apart == 0:
        return 1.0
    information = apart - _entropy(counts)
    return float(np.clip(2 * information / apart, 0, 1))  # rounding can leave [0, 1]


def _entropy(counts: np.ndarray) -> float:
    return float(entr(counts / counts.sum()).sum())


FEWEST_CLUSTERS, MOST_CLUSTERS = 2, 100
ENOUGH = 0.8  # of the best silhouette
# Above it clusters are far apart, up to the other there is hardly any structure: Kaufman and
# Rousseeuw, Finding Groups in Data (1990), table 4.
STRONG, NONE = 0.7, 0.25
CHUNK_ROWS = 1024


def rule_of_thumb(num_images: int) -> int:
    """K = sqrt(n / 2), rounded and from 2 to 100.

    A guess that knows nothing of the images. Source: Mardia, Kent, Bibby, Multivariate Analysis
    (1979), 13.4; the bounds are ours.
    """
    return min(max(round(math.sqrt(num_images / 2)), FEWEST_CLUSTERS), MOST_CLUSTERS)


def candidate_numbers(smallest: int, largest: int, ratio: float = 1.2) -> list[int]:
    """Rising numbers from smallest to largest, each about `ratio` times the one before.

    Raises:
        ValueError: If there is no such range.
    """
    if not 2 <= smallest <= largest or ratio <= 1:
        raise ValueError(f'numbers from {smallest} to {largest} by {ratio}: there are none')
    numbers = [smallest]
    while numbers[-1] < largest:
        numbers.append(min(max(round(numbers[-1] * ratio), numbers[-1] + 1), largest))
    return numbers


def mean_silhouette(embeddings: 'Tensor', clusters: 'Tensor') -> float:
    """Mean silhouette of all samples, by Euclidean distance.

    s = (b - a) / max(a, b), where a is a sample's mean distance to the others of its cluster and b
    that to the samples of the nearest other cluster; 0 for a sample that is alone in its cluster.

    Args:
        embeddings: float32 (N, C). Memory: a chunk of rows by N; time N^2 C.
        clusters: Cluster of each sample, int64, >= 0; numbers may be left out. Shape (N,).

    Returns:
        In [-1, 1]; larger is better.

    Source: Rousseeuw, Silhouettes, J. Comput. Appl. Math. 20 (1987).
    """
    import torch  # here, so that a report, which has the other scores, imports no torch

    present, clusters = clusters.unique(return_inverse=True)
    membership = torch.nn.functional.one_hot(clusters).double()  # (N, K)
    sizes = membership.sum(dim=0)  # (K,)
    rows = torch.arange(len(embeddings))
    total = 0.0
    for chunk in rows.split(CHUNK_ROWS):
        distances = torch.cdist(embeddings[chunk].double(), embeddings.double())  # (n, N)
        distances[torch.arange(len(chunk)), chunk] = 0.0  # exactly
        sums = distances @ membership  # (n, K)
        own = clusters[chunk, None]  # (n, 1)
        others = (sizes[own] - 1).squeeze(1)
        within = sums.gather(1, own).squeeze(1) / others.clamp_min(1)
        nearest = (sums / sizes).scatter(1, own, torch.inf).amin(dim=1)
        silhouette = (nearest - within) / torch.maximum(within, nearest).clamp_min(1e-300)
        total += silhouette[others > 0].sum().item()
    return total / len(embeddings)


def suggest_number(numbers: Sequence[int], silhouettes: Sequence[float]) -> int:
    """The K of the best silhouette if that is strong, else the largest K with 0.8 of it.

    A weak best silhouette belongs to the coarsest grouping (light or dark, indoors or out), and a
    category too many can be merged later, one too few not. The 0.8 is ours: docs/own_folder.md.

    Args:
        numbers: K, rising.
        silhouettes: Silhouettes of the clusterings with these K.
    """
    best = max(silhouettes)
    limit = ENOUGH * best if 0 < best < STRONG else best
    return max(k for k, value in zip(numbers, silhouettes, strict=True) if value >= limit)


CLUSTER_COLLAPSE = 0.5  # our own rules: the effective share below which an alarm is raised
PROTOTYPE_COLLAPSE = 0.1  # far more prototypes than categories: many may rest


def effective_number(counts: ArrayLike) -> float:
    """How many equally large clusters would be as diverse as these.

    exp(-sum p log p) over the shares p: K for K equal clusters, 1 if one cluster holds everything.

    Args:
        counts: Samples of each cluster, >= 0. Shape (K,).

    Returns:
        Number in [1, K]; 0 without any sample.

    Source: Hill, Diversity and Evenness: A Unifying Notation and Its Consequences (1973), order 1.
    """
    return float(np.exp(_entropy(np.asarray(counts)))) if np.any(counts) else 0.0


def has_collapsed(counts: ArrayLike, smallest_share: float) -> bool:
    """Whether the effective number of clusters is below a share of all clusters.

    Args:
        counts: Samples of each cluster, >= 0. Shape (K,).
        smallest_share: In (0, 1], as `CLUSTER_COLLAPSE`.
    """
    return effective_number(counts) < smallest_share * len(np.asarray(counts))
