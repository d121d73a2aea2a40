"""What label maps tell about a run without looking at masks: their foreground and their clusters.

The limits are our own rules of thumb: an image set up for unsupervised segmentation shows an object
in nearly every image, and rarely one that fills it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

LARGEST_EMPTY_SHARE = 0.2  # of images without any foreground
SMALLEST_MEDIAN, LARGEST_MEDIAN = 0.02, 0.9  # of the foreground's share of an image
LEAST_PREDICTED = 0.5  # foreground of predictions over that of pseudo-labels
FEW_IMAGES, MANY_IMAGES = 0.1, 4  # times the median number of images of a cluster


def median_of_counts(counts: Mapping[float, int]) -> float:
    """Median of values that are given with their frequencies.

    Args:
        counts: Value -> how often it occurs, > 0. At least one.

    Returns:
        The middle value, or the mean of the two middle ones.
    """
    values = np.array(sorted(counts))
    ends = np.cumsum([counts[value] for value in values])
    middle = (ends[-1] - 1) // 2, ends[-1] // 2
    return float(values[np.searchsorted(ends, middle, side='right')].mean())


def count_unusual_clusters(images: ArrayLike) -> tuple[int, int]:
    """How many clusters own far fewer or far more images than the median cluster.

    Args:
        images: Number of images of each cluster, >= 0. Shape (K,).

    Returns:
        Clusters with less than a tenth, and clusters with more than four times the median.
    """
    images = np.asarray(images)
    median = np.median(images)
    return int((images < FEW_IMAGES * median).sum()), int((images > MANY_IMAGES * median).sum())


def foreground_problem(empty_share: float, median_foreground: float) -> str | None:
    """Why label maps are probably useless, or None.

    Args:
        empty_share: Share of images without any foreground, in [0, 1].
        median_foreground: Median over the images of the foreground's share, in [0, 1].
    """
    if empty_share > LARGEST_EMPTY_SHARE:
        return f'{empty_share:.0%} of the images have no foreground pixel'
    if median_foreground < SMALLEST_MEDIAN or median_foreground > LARGEST_MEDIAN:
        return f'{median_foreground:.1%} of the median image is foreground'
    return None


def loses_foreground(predicted: float, labelled: float) -> bool:
    """Whether a network finds far less foreground than the labels that it was trained on.

    Args:
        predicted: Mean share of foreground of its predictions, in [0, 1].
        labelled: Mean share of foreground of its labels, in [0, 1].
    """
    return predicted < LEAST_PREDICTED * labelled
