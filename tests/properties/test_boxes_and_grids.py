import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from luss_mm.datasets.transforms.strong_operations import draw_box
from luss_mm.functional.alignment import overlap_grids
from luss_mm.functional.consistency import paste_boxes

SIDES = st.integers(1, 12)
PLACES, LENGTHS = st.floats(0, 200, width=32), st.floats(1, 200, width=32)
CROPS = st.tuples(PLACES, PLACES, LENGTHS, LENGTHS, st.sampled_from([0.0, 1.0]))


def image_points(grid, crop):
    """Where a sampling grid's points lie in the image, undone by hand."""
    left, top, width, height, flipped = (float(number) for number in crop)
    across, down = grid[..., 0].double(), grid[..., 1].double()
    across = -across if flipped else across
    return left + (across + 1) / 2 * width, top + (down + 1) / 2 * height


@given(CROPS, CROPS, st.integers(2, 5), st.sampled_from(['edge', 'centre']))
def test_both_grids_hit_the_same_points_of_the_overlap(a, b, points, placement):
    crops = torch.tensor([a]), torch.tensor([b])
    grid_a, grid_b, overlaps = overlap_grids(*crops, points, placement)
    starts = [max(a[i], b[i]) for i in (0, 1)]
    ends = [min(a[i] + a[i + 2], b[i] + b[i + 2]) for i in (0, 1)]
    extents = [end - start for start, end in zip(starts, ends, strict=True)]
    assume(min(abs(extent) for extent in extents) > 1e-3)  # float32 may see a touch as none
    assert overlaps.item() == all(extent > 0 for extent in extents)
    if not overlaps:
        assert not grid_a.any() and not grid_b.any()
        return
    for grid in (grid_a, grid_b):
        assert grid.shape == (1, points, points, 2) and grid.abs().max() < 1 + 1e-4
    places_a, places_b = image_points(grid_a[0], a), image_points(grid_b[0], b)
    for axis in (0, 1):
        torch.testing.assert_close(places_a[axis], places_b[axis], atol=1e-3, rtol=0)
        assert places_a[axis].min() > starts[axis] - 1e-3
        assert places_a[axis].max() < ends[axis] + 1e-3


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(sorted),
    st.integers(0, 2**32 - 1),
)
def test_drawn_boxes_lie_within_the_image(height, width, area, ratio, seed):
    np.random.seed(seed)
    left, top, box_width, box_height = draw_box(height, width, area, ratio)
    assert left >= 0 and top >= 0 and box_width >= 1 and box_height >= 1
    assert left + box_width <= width and top + box_height <= height
    # rounding moves either side by half a pixel, and no side is below one
    smallest = max(0, box_width - 1) * max(0, box_height - 1)
    assert smallest <= area[1] * height * width + 1e-6


@given(SIDES, SIDES, st.data())
def test_pasting_takes_every_pixel_from_one_of_the_two(height, width, data):
    number = st.integers(-3, 15)
    box = data.draw(st.tuples(number, number, st.integers(0, 15), st.integers(0, 15)))
    images = torch.arange(height * width).view(1, height, width)
    mixed = paste_boxes(images, -1 - images, torch.tensor([box]))
    left, top, box_width, box_height = box
    for y in range(height):
        for x in range(width):
            inside = left <= x < left + box_width and top <= y < top + box_height
            pixel = int(images[0, y, x])
            assert mixed[0, y, x] == (-1 - pixel if inside else pixel)
