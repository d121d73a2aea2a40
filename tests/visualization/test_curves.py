from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest

from luss_mm.visualization.run_pictures import (
    MAX_BINS,
    MAX_POINTS,
    bar_chart,
    curve_chart,
    histogram_chart,
)

SVG = '{http://www.w3.org/2000/svg}'


def drawn(chart):
    """The SVG's tree, its texts and the number of points of its longest path."""
    tree = ElementTree.fromstring(b64decode(chart.source.split(',')[1]))
    texts = [''.join(element.itertext()).strip() for element in tree.iter(f'{SVG}text')]
    steps = [path.get('d').count('L') + 1 for path in tree.iter(f'{SVG}path')]
    return texts, max(steps)


def test_a_curve_has_its_axes_its_end_and_its_marker():
    series = {'loss': ([10, 20, 30], [0, 5, 10.25]), 'part': ([10, 20, 30], [1, np.nan, 2])}
    chart = curve_chart(series, 'title', 'iteration', 'x < y & $z$', marker=15.5)
    texts, _ = drawn(chart)
    assert {'iteration', 'x < y & $z$', 'loss  10.2', 'part  2', '15.500'} <= {*texts}
    assert chart.title == 'title' and 'loss ends at 10.2; part ends at 2' in chart.description


def test_no_finite_value_is_no_curve():
    with pytest.raises(ValueError, match='t: no finite value'):
        curve_chart({'a': ([0, 1], [np.nan, np.nan])}, 't', 'x', 'y')


def test_long_curves_are_averaged():
    y = np.random.default_rng(0).random(10_000)
    _, points = drawn(curve_chart({'a': (range(10_000), y)}, 't', 'x', 'y'))
    assert MAX_POINTS / 2 < points <= MAX_POINTS  # matplotlib leaves out what lies on a line


@pytest.mark.parametrize('bins', [1, 7, 100, 101, 997, 1000])
def test_a_histogram_has_a_share_above_and_few_bins(bins):
    chart = histogram_chart(np.ones(bins), 0.5, 't', 'score')
    texts, points = drawn(chart)
    assert points <= 4 * MAX_BINS and int(chart.description.split()[0]) <= MAX_BINS
    (threshold,) = (text for text in texts if text.startswith('threshold 0.5'))
    assert float(threshold.split()[2]) == pytest.approx(50, abs=51 / min(bins, MAX_BINS))


def test_bars_of_many_clusters_and_of_nothing():
    texts, points = drawn(bar_chart(np.arange(919), 't', 'clusters', 'images'))
    assert {'clusters', 'images', '200'} <= {*texts} and points >= 919
    texts, _ = drawn(bar_chart([0.001, 0.002], 't', 'x', 'y'))
    assert {'1', '2', '0.00125'} <= {*texts} and '1.5' not in texts
    assert '2 bars, y from 0 to 0' in bar_chart([0, 0], 't', 'x', 'y').description
