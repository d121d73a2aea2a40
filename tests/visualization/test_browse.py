import cv2
import numpy as np
import pytest
import torch

from luss_mm.engine.browse_samples import (
    box_colour,
    grid_in_image,
    grid_in_pixels,
    views_picture,
)
from luss_mm.functional.alignment import overlap_grids

GREY = 90


def coordinates(height, width):
    """An image whose red and green tell the column and row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.zeros_like(rows)], -1).astype(np.uint8)


def cut(image, crop, size):
    left, top, width, height, flipped = (int(side) for side in crop)
    view = cv2.resize(image[top : top + height, left : left + width], (size, size))
    return np.ascontiguousarray(view[:, ::-1]) if flipped else view


@pytest.mark.parametrize('flips', [(0, 0), (1, 0), (1, 1)])
def test_pairs_hit_the_same_place_of_the_image(flips):
    """Each point of a view, looked up in a picture of coordinates, is where the image has it."""
    image = coordinates(200, 240)
    crops = torch.tensor([[20.0, 10, 160, 160, flips[0]], [60.0, 40, 160, 128, flips[1]]])
    grids = overlap_grids(crops[:1], crops[1:], 5, 'centre')
    places = grid_in_image(grids[0][0], crops[0])
    np.testing.assert_allclose(places, grid_in_image(grids[1][0], crops[1]), atol=1e-3)
    for crop, grid in zip(crops, grids[:2], strict=True):
        view = cut(image, crop, 320)
        points = np.floor(grid_in_pixels(grid[0], view.shape)).astype(int).reshape(-1, 2)
        found = np.array([view[y, x, :2] for x, y in points])
        np.testing.assert_allclose(found, places.reshape(-1, 2), atol=1.5)


def coloured(picture, colour):
    return (picture == np.array(colour)).all(-1)


@pytest.mark.parametrize(
    'points, overlapping, expected',
    [((3, 'centre'), True, 3 * 9), ((3, 'edge'), False, 0), (None, True, 0)],
)
def test_points_are_drawn_where_views_overlap(points, overlapping, expected):
    image = np.full((224, 224, 3), GREY, np.uint8)
    second = [60.0, 60, 100, 100, 0] if overlapping else [120.0, 120, 100, 100, 0]
    crops = torch.tensor([[0.0, 0, 100, 100, 0], second])
    views = [np.full((224, 224, 3), GREY, np.uint8)] * 2
    picture = views_picture(image, views, crops, points)
    frames = [coloured(picture, box_colour(n)) for n in range(2)]
    text = np.zeros(picture.shape[:2], bool)
    text[: picture.shape[0] - 230] = True
    saturated = (picture.max(-1).astype(int) - picture.min(-1) > 120) & ~np.any(frames, 0) & ~text
    count, _ = cv2.connectedComponents(saturated.astype(np.uint8))
    assert (count - 1 >= expected) if expected else count - 1 == 0
