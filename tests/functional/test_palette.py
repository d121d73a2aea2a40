import cv2
import numpy as np

from luss_mm.functional.label_codec import category_palette


def lab(palette):
    """CIELAB by OpenCV, an implementation that is not ours."""
    return cv2.cvtColor(palette[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]


def smallest_distance(palette):
    points = lab(palette)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return distances[np.triu_indices(len(points), 1)].min()


def test_id_0_is_black_and_920_colours_are_distinct():
    palette = category_palette(920)
    assert palette.dtype == np.uint8 and palette.shape == (920, 3)
    assert palette[0].tolist() == [0, 0, 0]
    assert len(np.unique(palette, axis=0)) == 920


def test_the_first_colours_are_far_apart():
    assert smallest_distance(category_palette(61)) > 20  # a just noticeable difference is about 2.3
    assert smallest_distance(category_palette(920)) > 2.3


def test_changing_a_palette_does_not_change_the_next_one():
    category_palette(10)[:] = 7
    assert category_palette(10)[0].tolist() == [0, 0, 0]
