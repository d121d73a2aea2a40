"""How many clusters: a rule of thumb, and the silhouette of clusterings with different K."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

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


def mean_silhouette(embeddings: Tensor, clusters: Tensor) -> float:
    """Mean silhouette of all samples, by Euclidean distance.

    s = (b - a) / max(a, b), where a is a sample's mean distance to the others of its cluster and b
    that to the samples of the nearest other cluster; 0 for a sample that is alone in its cluster.

    Args:
        embeddings: float32 (N, C). Memory: a chunk of rows by N; time N^2 C.
        clusters: Cluster of each sample, int64, >= 0; numbers may be left out. Shape (N,).

    Returns:
        In [-1, 1]; larger is better.

    Raises:
        ValueError: If the inputs differ in length or there are fewer than two clusters.

    Source: Rousseeuw, Silhouettes, J. Comput. Appl. Math. 20 (1987).
    """
    if len(embeddings) != len(clusters):
        raise ValueError(f'{len(clusters)} clusters for {len(embeddings)} embeddings')
    present, clusters = clusters.unique(return_inverse=True)
    if len(present) < 2:
        raise ValueError('a silhouette needs two clusters or more')
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
        silhouettes: Of the clusterings with these K.

    Raises:
        ValueError: If there are none, or not one for each K.
    """
    if not numbers or len(numbers) != len(silhouettes):
        raise ValueError(f'{len(silhouettes)} silhouettes for {len(numbers)} numbers')
    best = max(silhouettes)
    limit = ENOUGH * best if 0 < best < STRONG else best
    return max(k for k, value in zip(numbers, silhouettes, strict=True) if value >= limit)
