import itertools

import cv2
import numpy as np
import pytest
import torch

from luss_mm.functional.scores import boundary_mask, boundary_radius


def slow_band(labels, radius):
    """Each class's mask minus its 3x3 erosion, one erosion at a time, outside = not the class."""
    band = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels):
        mask = (labels == label).astype(np.uint8)
        eroded = mask
        for _ in range(radius):
            eroded = cv2.erode(
                eroded, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
            )
        band |= (mask - eroded).astype(bool)
    return band


def blobs(height, width, num_ids, seed, noise=0.0):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, num_ids, (max(1, height // 9), max(1, width // 7)))
    labels = cv2.resize(
        coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    ).astype(np.int64)
    noisy = random.random(labels.shape) < noise
    labels[noisy] = random.integers(0, num_ids, noisy.sum())
    return labels


@pytest.mark.parametrize('radius', [1, 2, 3, 7])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (8, 1), (5, 5), (15, 16), (40, 61), (90, 64)])
@pytest.mark.parametrize('noise', [0.0, 0.002, 1.0])
def test_equals_iterated_erosion(size, radius, noise):
    for seed in range(3):
        labels = blobs(*size, num_ids=6, seed=seed, noise=noise)
        band = boundary_mask(torch.from_numpy(labels), radius)
        assert band.dtype == torch.bool
        np.testing.assert_array_equal(band.numpy(), slow_band(labels, radius))


def test_equals_erosion_on_every_small_image():
    for bits in itertools.product([0, 1], repeat=12):
        labels = np.array(bits).reshape(3, 4)
        band = boundary_mask(torch.from_numpy(labels), 1).numpy()
        np.testing.assert_array_equal(band, slow_band(labels, 1), err_msg=str(labels))


def test_image_sized_with_official_radius_and_large_ids():
    labels = blobs(375, 500, num_ids=920, seed=0, noise=1e-4)
    labels[100:180, 200:300] = 1000
    radius = boundary_radius(375, 500)
    assert radius == 19
    band = boundary_mask(torch.from_numpy(labels), radius).numpy()
    np.testing.assert_array_equal(band, slow_band(labels, radius))


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_dtype_batch_and_strides_change_nothing(dtype):
    labels = np.stack([blobs(31, 47, 5, seed, 0.01) for seed in range(4)])
    expected = np.stack([slow_band(image, 3) for image in labels])
    batch = torch.from_numpy(labels).to(dtype)
    np.testing.assert_array_equal(boundary_mask(batch, 3).numpy(), expected)
    strided = batch.transpose(1, 2).contiguous().transpose(1, 2)
    np.testing.assert_array_equal(boundary_mask(strided, 3).numpy(), expected)


def test_radius_rounds_like_the_toolbox():
    for height, width in itertools.product(range(1, 600, 7), range(1, 600, 11)):
        diagonal = np.sqrt(height**2 + width**2)
        assert boundary_radius(height, width) == max(int(round(0.03 * diagonal)), 1)
    assert boundary_radius(3, 4) == 1
    assert boundary_radius(30, 40) == 2  # 1.5, halves go to the even neighbour
    assert boundary_radius(300, 400, ratio=0.1) == 50
