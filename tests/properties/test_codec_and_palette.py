import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from luss_mm.functional.label_codec import (
    MAX_ID,
    MAX_IDS,
    category_palette,
    decode_label_map,
    encode_label_map,
)

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5)
WIDE = st.sampled_from([np.uint16, np.int32, np.uint32, np.int64])


@given(WIDE, SHAPES, st.data())
def test_label_maps_come_back(dtype, shape, data):
    labels = data.draw(arrays.arrays(dtype, shape, elements=st.integers(0, MAX_ID)))
    coded = encode_label_map(labels)
    assert coded.shape == (*shape, 3) and coded.dtype == np.uint8 and not coded[..., 2].any()
    np.testing.assert_array_equal(decode_label_map(coded), labels)


@given(SHAPES, st.data())
def test_colours_without_blue_come_back(shape, data):
    coded = data.draw(arrays.arrays(np.uint8, (*shape, 3)))
    coded[..., 2] = 0
    np.testing.assert_array_equal(encode_label_map(decode_label_map(coded)), coded)


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_palettes_begin_alike_and_colours_differ(first, second):
    shorter, longer = sorted((first, second))
    palette = category_palette(longer)
    np.testing.assert_array_equal(category_palette(shorter), palette[:shorter])
    assert len(np.unique(palette, axis=0)) == longer and not palette[0].any()


@given(st.integers().filter(lambda n: not 1 <= n <= MAX_IDS))
def test_other_numbers_of_colours_are_refused(number):
    with pytest.raises(ValueError, match='a palette has'):
        category_palette(number)
