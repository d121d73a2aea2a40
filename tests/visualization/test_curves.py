import cv2
import numpy as np
import pytest

from luss_mm.visualization import plot_curves


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


def test_unequal_lengths_are_named(tmp_path):
    with pytest.raises(ValueError, match="'loss': 2 x for 3 y"):
        plot_curves({'loss': ([1, 2], [1, 2, 3])}, 't', 'x', 'y', tmp_path / 'a.png')
    assert not list(tmp_path.iterdir())
