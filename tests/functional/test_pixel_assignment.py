import math

import pytest
import torch
import torch.nn.functional as F

from luss_mm.functional.pixel_assignment import assign_pixels, label_by_centroid, resize_argmax
from luss_mm.functional.pixel_attention import upsample_features
from tests.functional.largest_tensor import LargestTensor


def slow_assign(features, centroids, score, threshold, size):
    """One pixel at a time; the similarity by definition, float64."""
    batch, _, h, w = features.shape
    height, width = size
    resized = F.interpolate(score[:, None].float(), size, mode='bilinear', align_corners=False)
    labels = torch.zeros(batch, height, width, dtype=torch.int64)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                cell = features[
                    b, :, math.floor((y + 0.5) * h / height), int((x + 0.5) * w / width)
                ]
                cosines = [
                    F.cosine_similarity(cell.double(), c.double(), dim=0).item() for c in centroids
                ]
                if resized[b, 0, y, x] >= threshold:
                    labels[b, y, x] = cosines.index(max(cosines)) + 1
    return labels


def inputs(batch=2, channels=6, clusters=5, grid=(3, 4), score_grid=(4, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, channels, *grid, generator=generator),
        torch.randn(clusters, channels, generator=generator),
        torch.rand(batch, *score_grid, generator=generator),
    )


@pytest.mark.parametrize('size', [(3, 4), (7, 11), (13, 6), (2, 3)])
@pytest.mark.parametrize('clusters', [1, 5])
def test_equals_the_definition_pixel_by_pixel(size, clusters):
    features, centroids, score = inputs(clusters=clusters)
    labels = assign_pixels(features, centroids, score, 0.5, size)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, slow_assign(features, centroids, score, 0.5, size))


@pytest.mark.parametrize('scale', [1, 2, 4])
def test_products_before_enlarging_equal_those_after(scale):
    features, centroids, score = inputs(clusters=7)
    enlarged = upsample_features(features.double(), scale)
    expected = slow_assign(enlarged, centroids, torch.ones_like(score), 0.5, (13, 10))
    assert torch.equal(label_by_centroid(features, centroids, (13, 10), scale), expected)


def test_threshold_is_inclusive_and_labels_reach_919():
    features, centroids, _ = inputs(clusters=919, channels=64)
    features = features[:, :, :1, :1] * 0 + centroids[918][None, :, None, None]
    score = torch.tensor([[[0.5]], [[0.4999]]])
    labels = assign_pixels(features, centroids, score, 0.5, (2, 2))
    assert labels[0].unique().tolist() == [919] and labels[1].unique().tolist() == [0]


def test_half_precision_and_autocast_do_not_change_the_arithmetic():
    features, centroids, score = inputs(clusters=200, channels=32)
    half = features.half()
    expected = assign_pixels(half.float(), centroids, score, 0.3, (8, 8))
    assert torch.equal(assign_pixels(half, centroids, score, 0.3, (8, 8)), expected)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(assign_pixels(half, centroids, score, 0.3, (8, 8)), expected)


def test_equal_similarities_take_the_lowest_label():
    features, centroids, score = inputs()
    # Not with equal centroids: some CPUs round equal columns of a matrix product differently.
    assert assign_pixels(features * 0, centroids, score, 0.0, (5, 5)).unique().tolist() == [1]


def naive_argmax(logits, size):
    return F.interpolate(logits.float(), size, mode='bilinear', align_corners=False).argmax(1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ('batch', 'classes', 'grid', 'size'),
    [
        (1, 1, (4, 5), (9, 7)),
        (2, 21, (7, 5), (33, 41)),
        (3, 920, (6, 8), (25, 31)),
        (2, 50, (30, 40), (11, 13)),  # smaller than the logits
        (1, 13, (8, 8), (8, 8)),
    ],
)
@pytest.mark.parametrize('classes_a_chunk', [1, 7, 10000])
def test_equals_resizing_everything(batch, classes, grid, size, dtype, classes_a_chunk):
    logits = torch.randn(batch, classes, *grid, generator=torch.Generator().manual_seed(1))
    logits = logits.to(dtype)
    budget = classes_a_chunk * 4 * batch * size[0] * size[1]
    labels = resize_argmax(logits, size, max_bytes=budget)
    assert labels.dtype == torch.int64 and labels.shape == (batch, *size)
    assert torch.equal(labels, naive_argmax(logits, size))


@pytest.mark.parametrize('max_bytes', [1, 3000, 2**28])
def test_ties_go_to_the_lowest_class_across_chunks(max_bytes):
    generator = torch.Generator().manual_seed(2)
    # small integers, doubled in size: the weights 1/4 and 3/4 make every sum exact
    distinct = torch.randint(-8, 9, (2, 5, 6, 7), generator=generator).float()
    logits = torch.cat([distinct, distinct, distinct.flip(1)], dim=1)  # each class thrice
    labels = resize_argmax(logits, (12, 14), max_bytes=max_bytes)
    assert torch.equal(labels, naive_argmax(logits, (12, 14))) and int(labels.max()) < 5
    assert resize_argmax(torch.zeros(1, 9, 2, 2), (5, 5), max_bytes=max_bytes).max() == 0


def test_no_more_maps_at_a_time_than_the_budget_allows():
    logits = torch.randn(1, 100, 4, 4)
    with LargestTensor() as seen:
        resize_argmax(logits, (50, 60), max_bytes=100_000)
    assert 50_000 < seen.bytes <= 100_000  # all maps would be 1.2 MB
