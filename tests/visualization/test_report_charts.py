import re

import numpy as np
import pytest

from luss_mm.visualization.report.charts import (
    BOTTOM,
    LEFT,
    MAX_POINTS,
    RIGHT,
    TOP,
    bar_chart,
    curve_chart,
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


def test_values_that_are_not_finite_lift_the_pen():
    y = [1, np.nan, 2, 3, np.inf, 4]
    visited, pens = points(curve_chart({'a': (range(6), y)}, 't', 'x', 'y').curves[0].path)
    assert len(visited) == 4 and pens == 3
    with pytest.raises(ValueError, match='t: no finite value'):
        curve_chart({'a': ([0, 1], [np.nan, np.nan])}, 't', 'x', 'y')


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
