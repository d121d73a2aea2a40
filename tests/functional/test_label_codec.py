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


def test_every_id_survives():
    labels = np.arange(65536).reshape(256, 256)
    np.testing.assert_array_equal(decode_label_map(encode_label_map(labels)), labels)


def test_small_integers_do_not_overflow():
    labels = label_map(np.uint8, highest=255)
    np.testing.assert_array_equal(encode_label_map(labels), slow_encode(labels))


def test_blue_is_unused():
    rgb = np.full((2, 3, 3), (3, 1, 99), dtype=np.uint8)
    np.testing.assert_array_equal(decode_label_map(rgb), np.full((2, 3), 259))


def test_through_a_png_file(tmp_path):
    labels = label_map(np.int64, highest=919)
    path = str(tmp_path / 'mask.png')
    cv2.imwrite(path, encode_label_map(labels)[..., ::-1])
    rgb = cv2.imread(path, cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(decode_label_map(rgb), labels)


def test_an_empty_map_stays_empty():
    assert encode_label_map(np.zeros((0, 5), np.int64)).shape == (0, 5, 3)
    assert decode_label_map(np.zeros((0, 5, 3), np.uint8)).shape == (0, 5)


@pytest.mark.parametrize('bad', [-1, 65536])
def test_ids_that_do_not_fit_are_named(bad):
    with pytest.raises(ValueError, match=f'{bad}.* do not fit into \\[0, 65535\\]'):
        encode_label_map(np.full((2, 2), bad))


@pytest.mark.parametrize(
    'labels',
    [np.zeros((2, 2)), np.zeros((2, 2), bool), np.zeros(4, int), np.zeros((1, 2, 2), int)],
    ids=['float', 'bool', 'one-dimensional', 'three-dimensional'],
)
def test_what_is_no_label_map_is_refused(labels):
    with pytest.raises(ValueError, match=r'a label map is \(H, W\) integer'):
        encode_label_map(labels)


@pytest.mark.parametrize(
    'rgb',
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3), np.int64)],
    ids=['grey', 'with alpha', 'wide integers'],
)
def test_what_is_no_mask_is_refused(rgb):
    with pytest.raises(ValueError, match=r'RGB uint8 \(H, W, 3\)'):
        decode_label_map(rgb)
