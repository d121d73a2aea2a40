"""Otsu's threshold and quantiles of foreground scores, from their histogram."""

import numpy as np
from numpy.typing import ArrayLike

EQUAL_VARIANCE = 1e-12  # relative; below it, variances differ by the rounding of float64 sums


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
        ValueError: If the histogram is empty, negative, not finite or not one-dimensional, or the
            range is empty.
    """
    counts = check_histogram(counts, low, high)
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


def otsu_threshold(counts: ArrayLike, low: float = 0.0, high: float = 1.0) -> float:
    """Threshold that maximises the variance between the scores below it and those from it on.

    Bin i of B equal bins holds the scores in [low + i w, low + (i + 1) w) with w = (high - low)/B,
    so the upper edge of a bin, which is the threshold, belongs to the foreground: score >= t.
    Where empty bins leave a range of equally good edges, its middle is taken; of several best
    splits the lowest. If all scores lie in one bin there is nothing to separate and its lower edge
    is taken: everything is foreground.

    Args:
        counts: Histogram of the scores, >= 0, additive over images and ranks. Shape (B,).
        low: Lower edge of the first bin.
        high: Upper edge of the last bin.

    Returns:
        Threshold in [low, high].

    Raises:
        ValueError: If the histogram is empty, negative, not finite or not one-dimensional, or the
            range is empty.

    Source: Otsu, A Threshold Selection Method from Gray-Level Histograms (1979), eq. 14-18.
    """
    counts = check_histogram(counts, low, high)
    edges = np.linspace(low, high, len(counts) + 1)
    filled = np.flatnonzero(counts)
    if len(filled) == 1:
        return float(edges[filled[0]])
    variance = between_class_variance(counts)
    first = 1 + int(np.argmax(variance >= variance.max() * (1 - EQUAL_VARIANCE)))
    last = int(filled[filled >= first][0])  # edges first .. last have only empty bins between
    return float((edges[first] + edges[last]) / 2)


def check_histogram(counts: ArrayLike, low: float, high: float) -> np.ndarray:
    """The histogram as float64 (B,).

    Raises:
        ValueError: If it is empty, negative, not finite or not one-dimensional, or the range from
            low to high is empty.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f'a histogram is (B,), finite and >= 0, got shape {counts.shape}')
    if not counts.sum() > 0:
        raise ValueError('the histogram of foreground scores is empty: no image was scored')
    if not low < high:
        raise ValueError(f'the histogram range [{low}, {high}] is empty')
    return counts


def between_class_variance(counts: np.ndarray) -> np.ndarray:
    """Otsu's criterion at every inner edge of a histogram, in bins squared.

    Args:
        counts: >= 0, at least one entry. Shape (B,).

    Returns:
        Variance between the entries below edge i + 1 and those from it on; 0 where a side is empty.
        float64 (B - 1,).

    Source: Otsu (1979), eq. 18.
    """
    shares = counts / counts.sum()
    bins, filled = np.arange(len(counts)), np.flatnonzero(counts)
    below = np.cumsum(shares)[:-1]  # (B - 1,) share of the scores under edge 1 .. B - 1
    # Moments around the mean: at a split, (mean - mean_below) * below; no large sums cancel.
    moment = np.cumsum(shares * (bins - shares @ bins))[:-1]
    splits = (bins[1:] > filled[0]) & (bins[1:] <= filled[-1])  # both sides hold scores
    variance = np.zeros(len(bins) - 1)
    variance[splits] = moment[splits] ** 2 / (below[splits] * (1 - below[splits]))
    return variance
