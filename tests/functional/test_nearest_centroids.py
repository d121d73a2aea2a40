import tracemalloc

import numpy as np
import pytest

from luss_mm.functional.kmeans import assign_to_centroids, two_nearest_distances


def slow_two_nearest(embeddings, centroids):
    """Brute force by differences, one point at a time, float64."""
    nearest, first, second = [], [], []
    for point in embeddings.astype(np.float64):
        squares = [float(((point - c) ** 2).sum()) for c in centroids.astype(np.float64)]
        nearest.append(squares.index(min(squares)))  # the first of equals
        ordered = [*sorted(squares), np.inf]
        first.append(ordered[0])
        second.append(ordered[1])
    return np.array(nearest), np.array(first), np.array(second)


def unit_noise(n, channels, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, channels))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize('n, k, channels', [(1, 1, 3), (200, 2, 5), (300, 60, 33)])
@pytest.mark.parametrize('chunk', [1, 17, 65536])
def test_equals_brute_force(n, k, channels, chunk):
    points, centroids = unit_noise(n, channels), unit_noise(k, channels, seed=1) * 0.7
    assignment, d1, d2 = two_nearest_distances(points, centroids, chunk=chunk)
    expected = slow_two_nearest(points, centroids)
    assert assignment.dtype == np.int32 and d1.dtype == d2.dtype == np.float32
    np.testing.assert_array_equal(assignment, expected[0])
    np.testing.assert_allclose(d1, expected[1], rtol=1e-6)
    np.testing.assert_allclose(d2, expected[2], rtol=1e-6)


def test_assignment_and_first_distance_are_those_of_the_assignment_alone():
    points, centroids = unit_noise(500, 16), unit_noise(40, 16, seed=1)
    assignment, d1, _ = two_nearest_distances(points, centroids)
    expected, distances = assign_to_centroids(points, centroids)
    np.testing.assert_array_equal(assignment, expected)
    np.testing.assert_array_equal(d1, distances)


def test_one_centroid_has_no_second():
    assignment, _, d2 = two_nearest_distances(unit_noise(5, 3), unit_noise(1, 3, seed=1))
    assert (assignment == 0).all() and (d2 == np.inf).all()


def test_memory_map_is_read_by_chunks(tmp_path):
    points = unit_noise(60000, 64)
    np.save(tmp_path / 'points.npy', points)
    mapped = np.load(tmp_path / 'points.npy', mmap_mode='r')
    tracemalloc.start()
    chunked = two_nearest_distances(mapped, points[:10], chunk=512)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < points.nbytes / 4
    for one, other in zip(chunked, two_nearest_distances(points, points[:10]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r'\(3, 4\) do not fit centroids \(2, 5\)'):
        two_nearest_distances(np.zeros((3, 4)), np.zeros((2, 5)))
