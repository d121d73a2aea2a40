import tracemalloc

import faiss
import numpy as np
import pytest

from luss_mm.functional import kmeans
from luss_mm.functional.clustering_scores import clustering_accuracy, contingency
from luss_mm.functional.kmeans import (
    FaissKMeans,
    assign_to_centroids,
    fit_kmeans,
    neighbourhood_means,
)


def slow_assign(embeddings, centroids):
    """Brute force over all pairs by differences, one point at a time, float64."""
    assignment, distances = [], []
    for point in embeddings.astype(np.float64):
        squares = [float(((point - c) ** 2).sum()) for c in centroids.astype(np.float64)]
        assignment.append(int(np.argmin(squares)))  # the first of equals
        distances.append(min(squares))
    return np.array(assignment), np.array(distances)


def slow_lloyd(embeddings, centroids, iterations):
    """Textbook Lloyd in float64; every cluster must keep members."""
    for _ in range(iterations):
        assignment, _ = slow_assign(embeddings, centroids)
        centroids = np.stack(
            [embeddings[assignment == k].astype(np.float64).mean(0) for k in range(len(centroids))]
        )
    return centroids, *slow_assign(embeddings, centroids)


def blobs(num_clusters, each, channels, seed=0, spread=0.05):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_clusters, channels))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = np.repeat(np.arange(num_clusters), each)
    points = centres[truth] + rng.normal(size=(len(truth), channels)) * spread / channels**0.5
    order = rng.permutation(len(truth))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)[
        order
    ], truth[order]


def unit_noise(n, channels, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, channels))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_ties_go_to_the_lowest_index_whatever_the_width():
    centroids = np.tile(unit_noise(1, 512), (919, 1))  # identical columns, any BLAS tail
    assignment, _ = assign_to_centroids(unit_noise(50, 512, seed=2), centroids)
    assert (assignment == 0).all()
    # a point exactly between two centroids
    middle = np.zeros((1, 2), np.float32)
    assignment, distances = assign_to_centroids(middle, np.array([[9.0, 0], [0, 1], [1, 0]]))
    assert assignment[0] == 1 and distances[0] == 1


def test_result_is_a_fixed_point_of_slow_lloyd():
    points, _ = blobs(6, 40, 16)
    result = fit_kmeans(points, 6, restarts=5)
    centroids, assignment, distances = slow_lloyd(points, result.centroids, 3)
    np.testing.assert_array_equal(result.assignment, assignment)
    np.testing.assert_allclose(result.centroids, centroids, atol=1e-6)
    np.testing.assert_allclose(result.objective, distances.sum(), rtol=1e-5)


def test_the_best_restart_is_kept():
    points = unit_noise(500, 4)
    runs = FaissKMeans(points, 12, 10, 'random')
    one_by_one = [runs.run(kmeans._restart_seed(3, restart))[0] for restart in range(8)]
    result = fit_kmeans(points, 12, iterations=10, restarts=8, seed=3)
    np.testing.assert_allclose(result.objective, min(one_by_one), rtol=1e-5)
    assert max(one_by_one) > min(one_by_one) * 1.001  # else nothing was tested


@pytest.mark.parametrize('copies', [50, 3000])
def test_duplicates_that_force_empty_clusters_are_repaired(copies):
    """One point dominates, so random initial centroids coincide: 10 points for 10 clusters."""
    points = unit_noise(10, 8)
    many = np.concatenate([np.repeat(points[:1], copies, axis=0), points[1:]])
    result = fit_kmeans(many, 10, iterations=1, restarts=1)
    assert result.repaired > 0
    assert (np.bincount(result.assignment, minlength=10) > 0).all()
    np.testing.assert_array_equal(result.assignment, slow_assign(many, result.centroids)[0])
    assert result.objective < 1e-8


def test_centroids_are_means_also_where_faiss_split_a_cluster_last():
    """faiss ends on a pair of perturbed copies if the last iteration had an empty cluster."""
    points, _ = blobs(3, 100, 4, spread=0.3)
    many = np.concatenate([np.repeat(points[:1], 3000, axis=0), points])
    _, _, was_split = FaissKMeans(many, 20, 1, 'random').run(kmeans._restart_seed(0, 0))
    assert was_split
    result = fit_kmeans(many, 20, iterations=1, restarts=1)
    assert np.linalg.norm(result.centroids, axis=1).max() <= 1 + 1e-6
    assert len(np.unique(result.centroids, axis=0)) == 20


def test_fewer_distinct_points_than_clusters_is_an_error():
    points = np.repeat(unit_noise(4, 6), 10, axis=0)
    with pytest.raises(
        ValueError, match='5 clusters need as many distinct embeddings.* only 4.*num_categories'
    ):
        fit_kmeans(points, 5, restarts=2)


def test_fewer_points_than_clusters_is_an_error():
    with pytest.raises(ValueError, match='3 embeddings cannot form 4 clusters'):
        fit_kmeans(unit_noise(3, 6), 4)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_first_bad_row_is_named(monkeypatch, value):
    points = unit_noise(100, 6)
    points[[61, 83], 2] = value
    monkeypatch.setattr(kmeans, 'CHUNK_ROWS', 16)
    with pytest.raises(ValueError, match='embedding 61 of 100 has NaN or infinite'):
        fit_kmeans(points, 2)


def test_broken_centroids_are_refused():
    with pytest.raises(FloatingPointError, match='centroid 1 has norm nan'):
        kmeans._check_centroids(np.array([[1.0, 0], [np.nan, 0]], np.float32), 1.0)
    with pytest.raises(FloatingPointError, match='centroid 0 has norm 1.1'):
        kmeans._check_centroids(np.array([[1.1, 0]], np.float32), 1.0)


@pytest.mark.parametrize('initialization', ['random', 'k-means++'])
def test_same_inputs_give_the_same_bits_and_seeds_differ(initialization):
    points = unit_noise(3000, 24)
    settings = {'iterations': 5, 'restarts': 3, 'initialization': initialization}
    first, second = (fit_kmeans(points, 40, seed=7, **settings) for _ in range(2))
    np.testing.assert_array_equal(first.centroids, second.centroids)
    np.testing.assert_array_equal(first.assignment, second.assignment)
    assert first.objective == second.objective
    other = fit_kmeans(points, 40, seed=8, **settings)
    assert not np.array_equal(first.centroids, other.centroids)


def test_threads_do_not_change_a_bit(monkeypatch):
    points, results = unit_noise(2000, 33), []
    monkeypatch.setattr(kmeans, 'SMALL_WORK', 0)  # else one thread either way
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2, 3):
            faiss.omp_set_num_threads(threads)
            results.append(fit_kmeans(points, 21, iterations=3, restarts=2))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].centroids, other.centroids)
        np.testing.assert_array_equal(results[0].assignment, other.assignment)


def test_read_only_memory_map_is_neither_copied_nor_sampled(tmp_path, monkeypatch):
    points = unit_noise(60000, 64)
    points.tofile(tmp_path / 'shard.bin')
    mapped = np.memmap(tmp_path / 'shard.bin', np.float32, 'r', shape=points.shape)
    monkeypatch.setattr(kmeans, 'CHUNK_ROWS', 512)
    tracemalloc.start()
    result = fit_kmeans(mapped, 3, iterations=2, restarts=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < points.nbytes / 3  # rows of an answer and chunks, not the data
    expected = fit_kmeans(points, 3, iterations=2, restarts=2)
    np.testing.assert_array_equal(result.centroids, expected.centroids)
    # 256 points a centroid is faiss's default sample: its centroids would be far from these
    members = [points[result.assignment == k].astype(np.float64).mean(0) for k in range(3)]
    assert np.abs(np.stack(members) - result.centroids).max() < 0.02


def slow_neighbourhood_means(points, neighbours, rounds):
    """By a sort of all cosines, one point at a time, float64."""
    points = points.astype(np.float64)
    for _ in range(rounds):
        means = []
        for index, point in enumerate(points):
            order = np.argsort(-(points @ point), kind='stable')
            nearest = [other for other in order if other != index][:neighbours]
            total = point + points[nearest].sum(axis=0)
            means.append(total / np.linalg.norm(total))
        points = np.array(means)
    return points


@pytest.mark.parametrize('rounds', [1, 2])
@pytest.mark.parametrize(('n', 'neighbours'), [(200, 5), (200, 1), (3, 5), (1, 5)])
def test_neighbourhood_means_equal_a_sort_of_all_cosines(n, neighbours, rounds, monkeypatch):
    points = unit_noise(n, 12)
    expected = slow_neighbourhood_means(points, neighbours, rounds)
    assert np.allclose(neighbourhood_means(points, neighbours, rounds), expected, atol=1e-6)
    monkeypatch.setattr(kmeans, 'CHUNK_ROWS', 7)
    assert np.allclose(neighbourhood_means(points, neighbours, rounds), expected, atol=1e-6)


def test_a_point_among_copies_of_itself_stays():
    points = np.repeat(unit_noise(4, 8), 10, axis=0)
    assert np.allclose(neighbourhood_means(points, 5), points, atol=1e-6)


def test_neighbours_keep_a_small_dense_category_together():
    """A large loose category and small tight ones: plain k-means splits the large one."""
    rng = np.random.default_rng(0)
    centres = np.eye(4, 8)
    sizes, spreads = (600, 40, 40, 40), (1.0, 0.35, 0.35, 0.35)
    truth = np.repeat(np.arange(4), sizes)
    noise = rng.normal(size=(720, 8)) / 8**0.5 * np.repeat(spreads, sizes)[:, None]
    points = (centres[truth] + noise).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    shares = []
    for neighbours in (0, 5):
        result = fit_kmeans(points, 4, neighbours=neighbours, initialization='k-means++')
        assert result.centroids.shape == (4, 8)
        shares.append(clustering_accuracy(contingency(result.assignment, truth, 4, 4)))
    assert shares[0] < 0.97 < 0.99 < shares[1]
