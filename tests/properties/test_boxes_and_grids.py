import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from luss_mm.datasets.transforms.strong_operations import draw_box
from luss_mm.functional.consistency import paste_boxes

SIDES = st.integers(1, 12)
PLACES, LENGTHS = st.floats(0, 200, width=32), st.floats(1, 200, width=32)


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
