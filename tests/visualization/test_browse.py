import cv2
import numpy as np
import pytest
import torch

from luss_mm.engine.browse_samples import (
    grid_in_image,
    grid_in_pixels,
)
from luss_mm.functional.alignment import overlap_grids


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
