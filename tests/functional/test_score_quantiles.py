import numpy as np
import pytest

from luss_mm.functional.score_histograms import certain_scores, histogram_quantile
from tests.functional.test_thresholds import two_modes


@pytest.mark.parametrize('share', [0, 0.05, 0.4, 0.5, 0.9, 1])
@pytest.mark.parametrize(('bins', 'low', 'high'), [(1, 0, 1), (40, 0, 1), (64, -2, 3)])
def test_quantiles_equal_those_of_scores_spread_evenly_over_their_bins(bins, low, high, share):
    raw = low + two_modes(500) * (high - low)
    counts, edges = np.histogram(raw, bins, (low, high))
    fine = 1000  # each score becomes so many, evenly over its bin
    spread = [
        np.linspace(edges[i], edges[i + 1], count * fine + 1)[1:]
        for i, count in enumerate(counts)
        if count
    ]
    ordered = np.concatenate(spread)
    expected = ordered[max(0, int(np.ceil(share * len(ordered))) - 1)]
    width = edges[1] - edges[0]
    found = histogram_quantile(counts, share, low, high)
    assert found == pytest.approx(expected, abs=width / fine)
    exact = np.quantile(raw, share, method='inverted_cdf')
    assert abs(found - exact) <= width * (1 + 1e-9)


def test_a_quantile_in_a_gap_is_its_lower_end():
    counts = [5, 0, 0, 5]
    assert histogram_quantile(counts, 0.5) == 0.25
    assert histogram_quantile(counts, 0.51) > 0.75
    assert (
        histogram_quantile([0, 0, 4, 0], 0) == 0.5 and histogram_quantile([0, 0, 4, 0], 1) == 0.75
    )


def test_certain_scores_enclose_the_threshold():
    counts = np.histogram(two_modes(3000), 1000, (0, 1))[0]
    low, high = (histogram_quantile(counts, share) for share in (0.4, 0.9))
    assert 0.2 < low < 0.5 < high < 0.9
    assert certain_scores(counts, (0.4, 0.9), 0.5) == (low, high)
    assert certain_scores(counts, (0.4, 0.9), 0.1) == (0.1, high)
    assert certain_scores(counts, (0.4, 0.9), 0.95) == (low, 0.95)
