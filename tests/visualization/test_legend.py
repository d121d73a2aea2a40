import numpy as np
import pytest

from luss_mm.visualization.legend import add_legend
from luss_mm.visualization.lettering import line_height

RED, GREEN = np.array([255, 0, 0], np.uint8), np.array([0, 255, 0], np.uint8)


@pytest.fixture
def picture():
    return np.full((40, 120, 3), 7, np.uint8)


def test_a_square_of_its_colour_for_each_entry(picture):
    entries = [('Gänse 12.5 %', RED), ('ant', GREEN)]
    result = add_legend(picture, entries)
    np.testing.assert_array_equal(result[:40], picture)
    strip = result[40:]
    assert strip.shape[0] > 2 * line_height() and strip.shape[1:] == (120, 3)
    assert [(strip == colour).all(axis=2).any() for colour in (RED, GREEN)] == [True, True]
    first, second = (np.argwhere((strip == c).all(axis=2))[:, 0].mean() for c in (RED, GREEN))
    assert second - first == line_height()
