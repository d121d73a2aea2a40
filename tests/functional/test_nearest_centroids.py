import tracemalloc

import numpy as np

from luss_mm.functional.kmeans import two_nearest_distances


def unit_noise(n, channels, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, channels))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


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
