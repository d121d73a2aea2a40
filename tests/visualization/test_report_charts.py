import itertools
import re

import numpy as np
import pytest

from luss_mm.visualization.report.charts import (
    BOTTOM,
    LEFT,
    MAX_BINS,
    MAX_POINTS,
    RIGHT,
    TOP,
    bar_chart,
    coarser_histogram,
    curve_chart,
    tick_text,
)


def points(path):
    """What an SVG path of M and L visits, and how often the pen is put down."""
    found = re.findall(r'([ML])(-?[\d.]+) (-?[\d.]+)', path)
    return [(float(x), float(y)) for _, x, y in found], sum(step == 'M' for step, *_ in found)


def bars(path):
    """Left, top and width of every bar."""
    return [tuple(map(float, bar)) for bar in re.findall(r'M([\d.]+) \d+V([\d.]+)h([\d.]+)V', path)]


def test_a_curve_spans_the_plot_and_rises_upwards():
    chart = curve_chart({'loss': ([10, 20, 30], [0, 5, 10])}, 'title', 'x', 'y')
    assert points(chart.curves[0].path) == (
        [(LEFT, BOTTOM), ((LEFT + RIGHT) / 2, (BOTTOM + TOP) / 2), (RIGHT, TOP)],
        1,
    )
    assert chart.y_ticks[0].text == '0' and chart.y_ticks[-1].text == '10'
    assert 'loss ends at 10' in chart.description


def test_ticks_lie_where_their_values_are():
    chart = curve_chart({'a': ([0, 100], [2, 4])}, 'title', 'x', 'y')
    for tick in chart.x_ticks:
        share = (tick.position - LEFT) / (RIGHT - LEFT)
        assert share == pytest.approx(float(tick.text) / 100, abs=1e-3)


def test_iterations_are_whole_numbers():
    def ticks(x):
        return [t.text for t in curve_chart({'a': (x, [2, 4])}, 't', 'x', 'y').x_ticks]

    assert ticks([1, 2]) == ['1', '2'] and '0.6' in ticks([0.5, 1.5])


def test_values_that_are_not_finite_lift_the_pen():
    y = [1, np.nan, 2, 3, np.inf, 4]
    visited, pens = points(curve_chart({'a': (range(6), y)}, 't', 'x', 'y').curves[0].path)
    assert len(visited) == 4 and pens == 3
    with pytest.raises(ValueError, match='t: no finite value'):
        curve_chart({'a': ([0, 1], [np.nan, np.nan])}, 't', 'x', 'y')


def test_a_single_point_and_a_constant_curve_can_be_drawn():
    for x, y in (([3], [7.0]), ([1, 2, 3], [5, 5, 5])):
        visited, _ = points(curve_chart({'a': (x, y)}, 't', 'x', 'y').curves[0].path)
        assert all(LEFT <= left <= RIGHT and TOP <= top <= BOTTOM for left, top in visited)


def test_long_curves_are_averaged_not_sampled():
    y = np.tile([0.0, 1.0], 5000)
    visited, _ = points(
        curve_chart({'a': (range(10000), y), 'b': ([0, 9999], [0, 1])}, 't', 'x', 'y')
        .curves[0]
        .path
    )
    middle = (BOTTOM + TOP) / 2
    assert len(visited) == MAX_POINTS
    assert all(top == pytest.approx(middle, abs=5) for _, top in visited)


def test_bars_have_the_heights_of_their_values():
    chart = bar_chart([10, 5, 0], 't', 'x', 'y', marked=[False, True, False])
    (first, last), (second,) = (bars(path) for path in chart.bars)
    assert first[1] == TOP and last[1] == BOTTOM
    assert second[1] == pytest.approx((TOP + BOTTOM) / 2)
    assert first[0] < second[0] < last[0] and last[0] + last[2] <= RIGHT


def test_as_many_bars_as_there_are_clusters_stay_within_the_plot():
    drawn = bars(bar_chart(np.arange(919), 't', 'x', 'y').bars[0])
    assert len(drawn) == 919 and drawn[-1][0] + drawn[-1][2] <= RIGHT + 0.1
    # no hairlines between narrow ones, which are drawn from left to right
    assert all(a[0] + a[2] > b[0] for a, b in itertools.pairwise(drawn))


def test_bars_of_nothing():
    assert all(top == BOTTOM for _, top, _ in bars(bar_chart([0, 0], 't', 'x', 'y').bars[0]))


def test_the_marker_lies_at_its_value():
    chart = bar_chart(np.ones(10), 't', 'x', 'y', (0, 1), marker=(0.25, 'here'))
    assert chart.marker.position == LEFT + 0.25 * (RIGHT - LEFT) and chart.marker.text == 'here'


@pytest.mark.parametrize('bins', [1, 7, 100, 101, 997, 1000])
def test_a_coarser_histogram_counts_the_same(bins):
    counts = np.arange(bins)
    coarser = coarser_histogram(counts)
    assert coarser.sum() == counts.sum() and len(coarser) <= MAX_BINS
    assert bins % len(coarser) == 0 and coarser[0] == counts[: bins // len(coarser)].sum()


@pytest.mark.parametrize(
    'value, text', [(0, '0'), (0.25, '0.25'), (1200, '1,200'), (45000, '45k'), (-1.5, '-1.5')]
)
def test_numbers_are_short(value, text):
    assert tick_text(value) == text
