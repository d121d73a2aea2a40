import tracemalloc
import warnings

import numpy as np
import pytest
import torch

from luss_mm.functional import kmeans, torch_kmeans
from luss_mm.functional.faiss_kmeans import FaissKMeans, draw_initial_centroids
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.functional.torch_kmeans import TorchKMeans
from tests.functional.test_kmeans import blobs, slow_assign, slow_lloyd, unit_noise


def slow_spherical_lloyd(points, centroids, iterations):
    """As `slow_lloyd`, by the largest cosine, with means on the unit sphere."""
    for _ in range(iterations):
        assignment = [int(np.argmax([p @ c for c in centroids])) for p in points]
        members = [[p for p, a in zip(points, assignment, strict=True) if a == k] for k in range(6)]
        means = np.stack([np.sum(m, axis=0) for m in members])
        centroids = means / np.linalg.norm(means, axis=1, keepdims=True)
    return centroids


@pytest.mark.parametrize('chunk', [1, 37, 16384])
@pytest.mark.parametrize('iterations', [1, 2, 7])
def test_equals_textbook_lloyd_from_the_same_points(monkeypatch, iterations, chunk):
    monkeypatch.setattr(torch_kmeans, 'CHUNK_ROWS', chunk)
    points = unit_noise(150, 5)
    for seed in range(3):
        start = draw_initial_centroids(points, 6, 'random', seed)
        expected, assignment, distances = slow_lloyd(points, start, iterations)
        cost, centroids, _ = TorchKMeans(points, 6, iterations, False, 'random', 'cpu').run(seed)
        np.testing.assert_allclose(centroids, expected, atol=2e-7)
        np.testing.assert_array_equal(slow_assign(points, centroids)[0], assignment)
        squares = np.square(points.astype(np.float64)).sum()
        np.testing.assert_allclose(cost, distances.sum() - squares, atol=1e-4)


def test_spherical_equals_textbook_lloyd_on_the_sphere():
    points, _ = blobs(6, 25, 8, spread=1.5)
    start = draw_initial_centroids(points, 6, 'random', 3)
    expected = slow_spherical_lloyd(points.astype(np.float64), start.astype(np.float64), 4)
    _, centroids, _ = TorchKMeans(points, 6, 4, True, 'random', 'cpu').run(3)
    np.testing.assert_allclose(centroids, expected, atol=2e-7)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize('initialization', ['random', 'k-means++'])
@pytest.mark.parametrize('spherical', [False, True])
def test_one_iteration_is_that_of_faiss(initialization, spherical):
    """So both start from the same points and take the same step."""
    points = unit_noise(900, 24)
    settings = (points, 13, 1, spherical, initialization)
    for seed in (0, 5, 2**31 - 1):
        _, expected, _ = FaissKMeans(*settings).run(seed)
        _, centroids, _ = TorchKMeans(*settings, 'cpu').run(seed)
        np.testing.assert_allclose(centroids, expected, atol=1e-6)


@pytest.mark.parametrize('spherical', [False, True])
@pytest.mark.parametrize(('k', 'spread'), [(5, 0.3), (12, 1.0), (40, 2.0)])
def test_objective_is_that_of_faiss(k, spread, spherical):
    points, _ = blobs(k, 30, 16, spread=spread)
    settings = dict(iterations=20, restarts=5, spherical=spherical)
    faiss_way = fit_kmeans(points, k, **settings)
    torch_way = fit_kmeans(points, k, **settings, device='cpu')
    assert torch_way.objective == pytest.approx(faiss_way.objective, rel=0.005)
    np.testing.assert_array_equal(torch_way.assignment, slow_assign(points, torch_way.centroids)[0])


def test_an_empty_cluster_takes_the_farthest_point():
    points = np.repeat(np.float32([[0, 0], [1, 0], [9, 0], [5, 7]]), [500, 30, 9, 1], axis=0)
    runs = TorchKMeans(points, 3, 1, False, 'random', 'cpu')
    seed = next(s for s in range(99) if not draw_initial_centroids(points, 3, 'random', s).any())
    _, centroids, ends_on_point = runs.run(seed)  # the first of three equal ones has all points
    mean = points.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(centroids, [mean, [9, 0], [9, 0]], atol=1e-6)
    assert ends_on_point
    runs.iterations = 2  # the second has the nine and the one, the third is empty again
    np.testing.assert_allclose(runs.run(seed)[1][1:], [[8.6, 0.7], [5, 7]], atol=1e-6)


@pytest.mark.parametrize('iterations', [1, 3])
@pytest.mark.parametrize('spherical', [False, True])
def test_clusters_that_are_empty_in_the_end_are_mended(iterations, spherical):
    """One point dominates, so that initial centroids coincide: 10 points for 10 clusters."""
    points = unit_noise(10, 8)
    many = np.concatenate([np.repeat(points[:1], 3000, axis=0), points[1:]])
    settings = dict(iterations=iterations, restarts=1, spherical=spherical)
    result = fit_kmeans(many, 10, **settings, device='cpu')
    assert (np.bincount(result.assignment, minlength=10) > 0).all()
    np.testing.assert_array_equal(result.assignment, slow_assign(many, result.centroids)[0])
    assert result.objective < 1e-6


def test_fewer_distinct_points_than_clusters_is_an_error():
    points = np.repeat(unit_noise(4, 6), 10, axis=0)
    with pytest.raises(ValueError, match='5 clusters need as many distinct embeddings.* only 4'):
        fit_kmeans(points, 5, restarts=2, device='cpu')


def test_ends_early_only_where_nothing_changes_any_more(monkeypatch):
    points, steps = unit_noise(200, 3), []
    update = TorchKMeans._update
    monkeypatch.setattr(TorchKMeans, '_update', lambda *a: steps.append(0) or update(*a))
    _, converged, _ = TorchKMeans(points, 4, 500, False, 'random', 'cpu').run(0)
    count = len(steps)
    assert 3 < count < 500
    _, fewer, _ = TorchKMeans(points, 4, count - 1, False, 'random', 'cpu').run(0)
    _, too_few, _ = TorchKMeans(points, 4, count - 2, False, 'random', 'cpu').run(0)
    np.testing.assert_array_equal(fewer, converged)
    assert not np.array_equal(too_few, converged)


def test_same_inputs_give_the_same_bits_and_seeds_differ():
    points = unit_noise(3000, 24)
    settings = dict(iterations=5, restarts=3, device='cpu')
    first, second = (fit_kmeans(points, 40, seed=7, **settings) for _ in range(2))
    np.testing.assert_array_equal(first.centroids, second.centroids)
    np.testing.assert_array_equal(first.assignment, second.assignment)
    other = fit_kmeans(points, 40, seed=8, **settings)
    assert not np.array_equal(first.centroids, other.centroids)


@pytest.mark.parametrize('spherical', [False, True])
def test_embeddings_on_the_device_give_the_same_bits_as_chunks(monkeypatch, spherical):
    monkeypatch.setattr(torch_kmeans, 'CHUNK_ROWS', 300)
    points = unit_noise(2000, 24)
    settings = (points, 30, 4, spherical, 'random', 'cpu')
    streamed = TorchKMeans(*settings)
    monkeypatch.setattr(TorchKMeans, '_fits_on_device', lambda self: True)
    resident = TorchKMeans(*settings)
    assert streamed.resident is None and resident.resident.shape == points.shape
    np.testing.assert_array_equal(streamed.run(1)[1], resident.run(1)[1])


def test_read_only_memory_map_is_read_by_chunks(tmp_path, monkeypatch):
    points = unit_noise(60000, 64)
    points.tofile(tmp_path / 'shard.bin')
    mapped = np.memmap(tmp_path / 'shard.bin', np.float32, 'r', shape=points.shape)
    monkeypatch.setattr(torch_kmeans, 'CHUNK_ROWS', 512)
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # of torch about arrays that it may not write to
        runs = TorchKMeans(mapped, 3, 2, False, 'random', 'cpu')
        tracemalloc.start()
        _, centroids, _ = runs.run(0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < points.nbytes / 20
    expected = TorchKMeans(points, 3, 2, False, 'random', 'cpu').run(0)[1]
    np.testing.assert_array_equal(centroids, expected)


def test_fast_imprecise_products_are_off_for_a_run(monkeypatch):
    seen, score = set(), TorchKMeans._scores
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)

    def record(self, *arguments):
        seen.update(backend.fp32_precision for backend in backends)
        return score(self, *arguments)

    monkeypatch.setattr(TorchKMeans, '_scores', record)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('medium')
    try:
        TorchKMeans(unit_noise(50, 4), 3, 2, False, 'random', 'cpu').run(0)
        assert seen == {'ieee'} and torch.get_float32_matmul_precision() == 'medium'
        assert [backend.fp32_precision for backend in backends] == ['tf32', 'bf16']
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ('torch_has', 'faiss_has', 'expected'), [(0, 0, None), (1, 0, 'cuda'), (1, 1, None)]
)
def test_torch_takes_the_gpu_that_faiss_cannot_use(monkeypatch, torch_has, faiss_has, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: bool(torch_has))
    monkeypatch.setattr(kmeans.faiss, 'get_num_gpus', lambda: faiss_has)
    assert kmeans._choose_device() == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason='torch has a GPU')
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device='cuda': torch has no GPU here"):
        fit_kmeans(unit_noise(5, 3), 2, device='cuda')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='torch has no GPU')
@pytest.mark.parametrize('spherical', [False, True])
def test_a_gpu_gives_the_centroids_of_the_cpu(spherical):
    points, _ = blobs(20, 200, 64, spread=0.5)
    settings = (points, 20, 10, spherical, 'random')
    _, expected, _ = TorchKMeans(*settings, 'cpu').run(0)
    first, second = (TorchKMeans(*settings, 'cuda').run(0)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, expected, atol=1e-5)
