import cv2
import numpy as np
import pytest

from luss_mm.functional.label_codec import decode_label_map, encode_label_map


def slow_encode(labels):
    return [[[int(v) % 256, int(v) // 256, 0] for v in row] for row in labels]


def slow_decode(rgb):
    return [[int(r) + 256 * int(g) for r, g, _ in row] for row in rgb]


def label_map(dtype, highest=1000, size=(17, 23)):
    labels = np.random.default_rng(0).integers(0, highest + 1, size)
    labels[0, :6] = [0, 1, min(254, highest), min(255, highest), min(256, highest), highest]
    return labels.astype(dtype)


@pytest.mark.parametrize('dtype', [np.int16, np.uint16, np.int32, np.int64])
def test_equals_pixel_by_pixel(dtype):
    labels = label_map(dtype)
    rgb = encode_label_map(labels)
    assert rgb.dtype == np.uint8 and rgb.shape == (17, 23, 3)
    np.testing.assert_array_equal(rgb, slow_encode(labels))
    decoded = decode_label_map(rgb)
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, slow_decode(rgb))
    np.testing.assert_array_equal(decoded, labels)


def test_through_a_png_file(tmp_path):
    labels = label_map(np.int64, highest=919)
    path = str(tmp_path / 'mask.png')
    cv2.imwrite(path, encode_label_map(labels)[..., ::-1])
    rgb = cv2.imread(path, cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(decode_label_map(rgb), labels)


@pytest.mark.parametrize(
    'rgb',
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3), np.int64)],
    ids=['grey', 'with alpha', 'wide integers'],
)
def test_what_is_no_mask_is_refused(rgb):
    with pytest.raises(ValueError, match=r'RGB uint8 \(H, W, 3\)'):
        decode_label_map(rgb)
