import sys

import cv2
import numpy as np
import pytest

from luss_mm.visualization import plot_curves, plot_histogram


def read(path):
    return cv2.imread(str(path))[..., ::-1]


def test_curves_of_different_values_differ_and_equal_ones_are_equal(tmp_path):
    x = np.arange(50)
    names = {'loss_$a_$': x * 0.1, 'other': np.where(x % 9, x, np.nan)}
    for name, shift in (('a.png', 0), ('b.png', 0), ('c.png', 3)):
        series = {key: (x, y + shift * (x > 20)) for key, y in names.items()}
        plot_curves(series, 'title_^$', 'iteration', 'loss', tmp_path / name, vertical_line=12)
    a, b, c = (read(tmp_path / f'{name}.png') for name in 'abc')
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_no_curves_and_one_point_are_pictures_too(tmp_path):
    plot_curves({}, 't', 'x', 'y', tmp_path / 'none.png')
    plot_curves({'one': ([1], [2])}, 't', 'x', 'y', tmp_path / 'one.jpg')
    assert read(tmp_path / 'none.png').shape == read(tmp_path / 'one.jpg').shape


def test_unequal_lengths_are_named(tmp_path):
    with pytest.raises(ValueError, match="'loss': 2 x for 3 y"):
        plot_curves({'loss': ([1, 2], [1, 2, 3])}, 't', 'x', 'y', tmp_path / 'a.png')
    assert not list(tmp_path.iterdir())


def test_histogram_colours_change_at_the_threshold(tmp_path):
    counts, edges = np.ones(10), np.linspace(0, 1, 11)
    blue = {}
    for threshold in (0.0, 0.5, 1.0):
        plot_histogram(counts, edges, threshold, tmp_path / 'h.png')
        picture = read(tmp_path / 'h.png').astype(int)
        blue[threshold] = (picture[..., 2] - picture[..., 0] > 80).sum()
    assert blue[0.0] > 1.8 * blue[0.5] > 0 == blue[1.0]


def test_histogram_without_entries_and_with_too_few_edges(tmp_path):
    plot_histogram([0, 0], [0, 0.5, 1], 0.5, tmp_path / 'h.png', 'no entries', 'score')
    with pytest.raises(ValueError, match='one more edge'):
        plot_histogram([1, 2], [0, 1], 0.5, tmp_path / 'h.png')


def test_pyplot_is_not_involved(tmp_path):
    before = 'matplotlib.pyplot' in sys.modules
    plot_curves({}, 't', 'x', 'y', tmp_path / 'a.png')
    assert ('matplotlib.pyplot' in sys.modules) == before
