"""Foreground scores that are surely background or surely object: quantiles of all of them."""

import numpy as np
from numpy.typing import ArrayLike

from luss_mm.functional.thresholds import check_histogram


def histogram_quantile(
    counts: ArrayLike, share: float, low: float = 0.0, high: float = 1.0
) -> float:
    """Score below which a share of a histogram's scores lies.

    Scores are taken to lie evenly within their bin. Where empty bins leave a range of scores, its
    lower end is taken.

    Args:
        counts: Histogram of the scores, >= 0, additive over images and ranks. Shape (B,).
        share: In [0, 1]. 0 gives the lower edge of the first bin that is not empty.
        low: Lower edge of the first bin.
        high: Upper edge of the last bin.

    Returns:
        Quantile in [low, high], off by at most the width of a bin.

    Raises:
        ValueError: If the histogram is empty, negative, not finite or not one-dimensional, the
            range is empty, or the share is outside of [0, 1].
    """
    counts = check_histogram(counts, low, high)
    if not 0 <= share <= 1:
        raise ValueError(f'a quantile is a share in [0, 1], not {share}')
    filled = np.flatnonzero(counts)
    edges = np.linspace(low, high, len(counts) + 1)
    reached = np.cumsum(counts[filled]) / counts.sum()  # at the upper edge of each filled bin
    i = min(int(np.searchsorted(reached, share)), len(filled) - 1)  # sums may end just below 1
    before = reached[i - 1] if i else 0.0
    part = min(1.0, (share - before) / (reached[i] - before))
    start, stop = edges[filled[i]], edges[filled[i] + 1]
    return float(start + part * (stop - start))


def certain_scores(
    counts: ArrayLike, quantiles: tuple[float, float], threshold: float
) -> tuple[float, float]:
    """Foreground scores up to which a pixel is surely background, and from which surely object.

    They are two quantiles of all training scores, so no label is looked at. Where the threshold
    does not lie between them, the bound beyond it is moved to the threshold:
    low <= threshold <= high always holds.

    Args:
        counts: Histogram of the training foreground scores over [0, 1]. Shape (B,).
        quantiles: Shares of the pixels below low and below high.
        threshold: Score from which a pixel counts as foreground.

    Returns:
        low and high.

    Raises:
        ValueError: See `histogram_quantile`.
    """
    low, high = (histogram_quantile(counts, share) for share in quantiles)
    return min(low, threshold), max(high, threshold)
