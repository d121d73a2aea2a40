"""Whether label maps look sound, and what they would be with the truth in a part of them."""

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


def with_true_foreground(
    labels: np.ndarray, categories: np.ndarray, truth: np.ndarray, ignore_index: int
) -> np.ndarray:
    """The label map that the same categories would give with a perfect foreground.

    Args:
        labels: Generated ids, 0 for background, integer. Shape (H, W).
        categories: Generated ids >= 1 that pixels would have if all were foreground; counts where
            `labels` is 0. Integer. Shape (H, W).
        truth: Category ids, 0 for background, or `ignore_index`, integer. Shape (H, W).
        ignore_index: Mask id of pixels that count nowhere.

    Returns:
        Generated ids, 0 where the mask shows no category, dtype of `labels`. Shape (H, W).

    Raises:
        ValueError: If `categories` holds a 0 where it counts.
    """
    named = np.where(labels > 0, labels, categories)
    shown = (truth > 0) & (truth != ignore_index)
    if not named[shown].all():
        raise ValueError('the map of categories has background (0) where the mask has an object')
    return np.where(shown, named, 0).astype(labels.dtype)


def with_true_categories(labels: np.ndarray, truth: np.ndarray, ignore_index: int) -> np.ndarray:
    """The label map that the same foreground would give with perfect categories.

    A foreground pixel takes the category of the nearest pixel of the mask that has one, which is
    its own where it lies on an object, and the only one where the mask shows a single category.

    Args:
        labels: Generated ids, 0 for background, integer. Shape (H, W).
        truth: Category ids in [0, C], or `ignore_index`, integer. Shape (H, W).
        ignore_index: Mask id of pixels that count nowhere.

    Returns:
        Category ids, 0 where `labels` is 0; the foreground of an image without any category stays
        as it is labelled, since there all of it is wrong. Dtype of `truth`. Shape (H, W).
    """
    from scipy.ndimage import distance_transform_edt  # which the rules for runs do not need

    shown = (truth > 0) & (truth != ignore_index)
    if not shown.any():
        return labels.astype(truth.dtype)
    rows, columns = distance_transform_edt(~shown, return_distances=False, return_indices=True)
    return np.where(labels > 0, truth[rows, columns], 0)


def foreground_overlap(labels: np.ndarray, truth: np.ndarray, ignore_index: int) -> float:
    """Intersection over union of the foreground of one image.

    Args:
        labels: Ids, 0 for background, integer. Shape (H, W).
        truth: Category ids, 0 for background, or `ignore_index`, integer. Shape (H, W).
        ignore_index: Mask id of pixels that count nowhere.

    Returns:
        IoU in [0, 1]; NaN if neither has any foreground.
    """
    found, shown = labels[truth != ignore_index] > 0, truth[truth != ignore_index] > 0
    either = int((found | shown).sum())
    return int((found & shown).sum()) / either if either else float('nan')
