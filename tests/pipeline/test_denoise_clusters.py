from dataclasses import replace

import numpy as np
import pytest

from luss_mm.functional.kmeans import assign_to_centroids, fit_kmeans
from luss_mm.functional.sample_selection import balance_clusters
from luss_mm.pipeline import clusters as module
from luss_mm.pipeline.clusters import DenoisingRules, KMeans, check_clusters, denoise_clusters
from luss_mm.work_dir.run_folder import Clusters

RULES = DenoisingRules(rule='margin', keep_fraction=0.7, limit=None, cap=1.2, floor=0.8)
K = 4


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def embeddings():
    """Four blobs of 60, 30, 20 and 10 samples and 40 samples anywhere, shuffled."""
    rng = np.random.default_rng(0)
    centres = np.repeat(unit(rng.normal(size=(K, 8))), [60, 30, 20, 10], axis=0)
    blobs = centres + 0.1 * rng.normal(size=centres.shape)
    return rng.permutation(unit(np.concatenate([blobs, rng.normal(size=(40, 8))])))


@pytest.fixture
def clusters(embeddings):
    fit = fit_kmeans(embeddings, K, restarts=3)
    return Clusters(fit.centroids, fit.assignment, fit.squared_distances)


def denoise(directory, embeddings, clusters, rules=RULES, num_clusters=K, **settings):
    settings = dict(iterations=10, restarts=3, seed=1) | settings
    kmeans = KMeans(**settings)
    return denoise_clusters(
        directory, embeddings, clusters, rules, num_clusters, dict(clusters='abc'), kmeans
    )


def contents(directory):
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.name != 'manifest.json'}


def slow_selection(embeddings, clusters, fraction):
    """Old cluster, margin and whether the filter keeps it, of every sample, one at a time."""
    nearest, margins = [], []
    for point in embeddings.astype(np.float64):
        squares = sorted(
            (float(((point - c) ** 2).sum()), k) for k, c in enumerate(clusters.centroids)
        )
        nearest.append(squares[0][1])
        margins.append(squares[1][0] - squares[0][0])
    best = sorted(range(len(margins)), key=lambda i: -margins[i])
    kept = np.zeros(len(margins), dtype=bool)
    kept[best[: round(fraction * len(margins))]] = True
    return np.array(nearest), np.array(margins), kept


def test_every_step_equals_the_slow_one(tmp_path, embeddings, clusters):
    result = denoise(tmp_path / 'csd', embeddings, clusters)
    nearest, margins, clean = slow_selection(embeddings, clusters, 0.7)
    np.testing.assert_array_equal(nearest, clusters.assignment)
    rows = balance_clusters(nearest, margins, clean, K, 1.2, 0.8, seed=1)
    expected = fit_kmeans(embeddings[rows], K, iterations=10, restarts=3, seed=1)
    np.testing.assert_array_equal(result.centroids, expected.centroids)
    assignment, distances = assign_to_centroids(embeddings, expected.centroids)
    np.testing.assert_array_equal(result.assignment, assignment)
    np.testing.assert_array_equal(result.squared_distances, distances)
    assert len(result.assignment) == len(embeddings)  # all, not the kept ones

    kept = np.load(tmp_path / 'csd' / 'kept.npy')
    assert kept.dtype == bool and np.flatnonzero(kept).tolist() == np.unique(rows).tolist()
    quality = np.load(tmp_path / 'csd' / 'quality.npy')
    assert quality.dtype == np.float32
    np.testing.assert_allclose(quality, margins, atol=2e-7)


@pytest.mark.parametrize('stop', ['_copy_rows', 'fit_kmeans', 'write_denoising', 'write_clusters'])
def test_interrupted_and_redone(tmp_path, embeddings, clusters, monkeypatch, stop):
    denoise(tmp_path / 'whole', embeddings, clusters)
    real = getattr(module, stop)

    def interrupted(*arguments, **settings):
        real(*arguments, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, stop, interrupted)
        if stop in ('_copy_rows', 'fit_kmeans'):  # a kill leaves the copied rows
            patch.setattr(module.Path, 'unlink', lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            denoise(tmp_path / 'csd', embeddings, clusters)
    assert not (tmp_path / 'csd').exists()
    denoise(tmp_path / 'csd', embeddings, clusters)
    assert contents(tmp_path / 'csd') == contents(tmp_path / 'whole')
    assert not list(tmp_path.glob('*partial*'))


def test_too_few_kept_samples_are_an_error(tmp_path, embeddings, clusters):
    rules = DenoisingRules('margin', keep_fraction=0.02, limit=None, cap=None, floor=5.0)
    with pytest.raises(ValueError, match='3 of 160 samples are kept, which cannot form 4 clusters'):
        denoise(tmp_path / 'csd', embeddings, clusters, rules)
    assert not (tmp_path / 'csd').exists()


def test_bad_clusters_are_refused():
    good = Clusters(np.eye(3, dtype=np.float32), np.array([0, 1, 2]), np.zeros(3, np.float32))
    check_clusters(good)
    with pytest.raises(ValueError, match='nearest to centroid 1, 1 of 3 clusters are empty'):
        check_clusters(replace(good, assignment=np.array([0, 2, 2])))
