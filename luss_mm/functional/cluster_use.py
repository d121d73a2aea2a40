"""How evenly clusters are used."""

import numpy as np
from numpy.typing import ArrayLike

CLUSTER_COLLAPSE = 0.5  # our own rules: the effective share below which an alarm is raised
PROTOTYPE_COLLAPSE = 0.1  # far more prototypes than categories: many may rest


def effective_number(counts: ArrayLike) -> float:
    """How many equally large clusters would be as diverse as these.

    exp(-sum p log p) over the shares p: K for K equal clusters, 1 if one cluster holds everything.

    Args:
        counts: Samples of each cluster, >= 0. Shape (K,).

    Returns:
        Number in [1, K]; 0 without any sample.

    Raises:
        ValueError: If a count is negative.

    Source: Hill, Diversity and Evenness: A Unifying Notation and Its Consequences (1973), order 1.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if (counts < 0).any():
        raise ValueError(f'counts are not negative, got {counts.min()}')
    if not counts.any():
        return 0.0
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def has_collapsed(counts: ArrayLike, smallest_share: float) -> bool:
    """Whether the effective number of clusters is below a share of all clusters.

    Args:
        counts: Samples of each cluster, >= 0. Shape (K,).
        smallest_share: In (0, 1], as `CLUSTER_COLLAPSE`.
    """
    return effective_number(counts) < smallest_share * len(np.asarray(counts))
