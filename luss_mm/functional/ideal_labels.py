"""Label maps with one of their two halves taken from the mask: to see which half loses the score.

A pixel is right if its foreground and its category are. Here either is replaced by the truth.
"""

import numpy as np
from scipy.ndimage import distance_transform_edt


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
