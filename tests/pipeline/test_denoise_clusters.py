import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.functional.nearest_centroids import assign_to_centroids
from luss_mm.functional.sample_selection import balance_clusters
from luss_mm.pipeline import clusters as module
from luss_mm.pipeline.clusters import DenoisingRules, check_clusters, denoise_clusters
from luss_mm.work_dir.artifact import read_manifest
from luss_mm.work_dir.run_folder import Clusters, load_clusters

RULES = DenoisingRules(rule='margin', keep_fraction=0.7, limit=None, cap=1.2, floor=0.8)
K = 4
FILES = {
    'assignment.npy',
    'centroids.npy',
    'kept.npy',
    'manifest.json',
    'quality.npy',
    'squared_distances.npy',
    'summary.json',
}


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
    return denoise_clusters(
        directory, embeddings, clusters, rules, num_clusters, dict(clusters='abc'), **settings
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


def test_summary_counts(tmp_path, embeddings, clusters):
    result = denoise(tmp_path / 'csd', embeddings, clusters)
    nearest, margins, clean = slow_selection(embeddings, clusters, 0.7)
    rows = balance_clusters(nearest, margins, clean, K, 1.2, 0.8, seed=1)
    summary = json.loads((tmp_path / 'csd' / 'summary.json').read_text())
    own = [nearest == k for k in range(K)]
    drawn = [[r for r in rows.tolist() if nearest[r] == k] for k in range(K)]
    assert summary['rules'] == dict(
        rule='margin', keep_fraction=0.7, limit=None, cap=1.2, floor=0.8
    )
    assert summary['samples'] == 160 and summary['kept_samples'] == len(set(rows.tolist()))
    assert summary['old_sizes'] == [o.sum() for o in own]
    assert summary['kept_by_filter'] == [(clean & o).sum() for o in own]
    assert summary['kept'] == [len(set(d)) for d in drawn]
    assert summary['dropped'] == [o.sum() - len(set(d)) for o, d in zip(own, drawn, strict=True)]
    assert summary['dropped_by_cap'] == [
        (clean & o).sum() - len(set(d)) for o, d in zip(own, drawn, strict=True)
    ]
    assert summary['resampled'] == [len(d) - len(set(d)) for d in drawn]
    assert summary['balanced_sizes'] == [len(d) for d in drawn]
    assert summary['new_sizes'] == np.bincount(result.assignment, minlength=K).tolist()
    assert sum(summary['dropped_by_cap']) and sum(summary['resampled'])  # else nothing was tested
    assert summary['clusters_without_samples'] == []


def test_output_is_what_other_steps_read(tmp_path, embeddings, clusters):
    result = denoise(tmp_path / 'csd', embeddings, clusters)
    assert {p.name for p in (tmp_path / 'csd').iterdir()} == FILES
    for one, other in zip(
        vars(result).values(), vars(load_clusters(tmp_path / 'csd')).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert result.centroids.dtype == result.squared_distances.dtype == np.float32
    assert result.assignment.dtype == np.int32
    manifest = read_manifest(tmp_path / 'csd')
    assert manifest['inputs'] == dict(clusters='abc') and manifest['seed'] == 1
    assert manifest['settings'] == dict(
        rule='margin',
        keep_fraction=0.7,
        limit=None,
        cap=1.2,
        floor=0.8,
        num_clusters=K,
        iterations=10,
        restarts=3,
        initialization='random',
        components=None,
    )


def test_two_runs_are_identical_and_seeds_differ(tmp_path, embeddings, clusters):
    for name, seed in (('one', 1), ('two', 1), ('other', 2)):
        denoise(tmp_path / name, embeddings, clusters, seed=seed)
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
    assert contents(tmp_path / 'one') != contents(tmp_path / 'other')


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


def test_a_finished_output_is_taken_as_it_is(tmp_path, embeddings, clusters, monkeypatch):
    first = denoise(tmp_path / 'csd', embeddings, clusters)
    monkeypatch.setattr(module, 'fit_kmeans', None)
    again = denoise(tmp_path / 'csd', embeddings, clusters)
    np.testing.assert_array_equal(first.centroids, again.centroids)
    with pytest.raises(TypeError):  # another rule is another output
        denoise(tmp_path / 'csd', embeddings, clusters, replace(RULES, rule='ratio'))


def test_rows_are_copied_in_chunks_from_a_memory_map(tmp_path, monkeypatch):
    points = unit(np.random.default_rng(0).normal(size=(30000, 64)))
    np.save(tmp_path / 'points.npy', points)
    mapped = np.load(tmp_path / 'points.npy', mmap_mode='r')
    rows = np.sort(np.random.default_rng(1).integers(0, len(points), 40000))
    monkeypatch.setattr(module, 'COPY_ROWS', 300)
    tracemalloc.start()
    copy = module._copy_rows(tmp_path / 'copy.npy', mapped, rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < points.nbytes / 20  # two chunks are 154 kB, the rows 10 MB
    assert isinstance(copy, np.memmap) and copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, points[rows])
    np.testing.assert_array_equal(np.load(tmp_path / 'copy.npy'), points[rows])


def test_k_means_reads_the_copy_and_the_embeddings_may_be_mapped(
    tmp_path, embeddings, clusters, monkeypatch
):
    np.save(tmp_path / 'points.npy', embeddings)
    mapped, seen = np.load(tmp_path / 'points.npy', mmap_mode='r'), []

    def watched(points, *arguments, **settings):
        seen.append((type(points), points.filename.name))
        return fit_kmeans(points, *arguments, **settings)

    monkeypatch.setattr(module, 'fit_kmeans', watched)
    monkeypatch.setattr(module, 'COPY_ROWS', 7)
    denoise(tmp_path / 'mapped', mapped, clusters)
    assert seen == [(np.memmap, 'kept_embeddings.npy')]
    denoise(tmp_path / 'csd', embeddings, clusters)
    assert contents(tmp_path / 'mapped') == contents(tmp_path / 'csd')


def test_clusters_that_keep_nothing_are_told(tmp_path, embeddings, clusters, monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, logger: said.append(text))
    # a fifth centroid right beside the third: their margins are next to nothing
    twins = np.concatenate([clusters.centroids, clusters.centroids[2:3] + 1e-4])
    rules = DenoisingRules('margin', keep_fraction=None, limit=0.05, cap=None, floor=None)
    denoise(tmp_path / 'csd', embeddings, replace(clusters, centroids=twins), rules, num_clusters=2)
    summary = json.loads((tmp_path / 'csd' / 'summary.json').read_text())
    assert summary['clusters_without_samples'] == [2, 4]
    assert said[0].endswith('2 clusters keep no sample: 3, 5')
    assert f'k-means sees {summary["kept_samples"]} of 160 samples' in said[0]
    assert len(summary['new_sizes']) == 2 and len(summary['old_sizes']) == 5


def test_too_few_kept_samples_are_an_error(tmp_path, embeddings, clusters):
    rules = DenoisingRules('margin', keep_fraction=0.02, limit=None, cap=None, floor=5.0)
    with pytest.raises(ValueError, match='3 of 160 samples are kept, which cannot form 4 clusters'):
        denoise(tmp_path / 'csd', embeddings, clusters, rules)
    assert not (tmp_path / 'csd').exists()


def test_bad_clusters_are_not_written(tmp_path, embeddings, clusters, monkeypatch):
    def broken(*arguments, **settings):
        fit = fit_kmeans(*arguments, **settings)
        return replace(fit, centroids=fit.centroids * np.float32(1.5))

    monkeypatch.setattr(module, 'fit_kmeans', broken)
    with pytest.raises(FloatingPointError, match='is not kept'):
        denoise(tmp_path / 'csd', embeddings, clusters)
    assert not (tmp_path / 'csd').exists()


def test_bad_clusters_are_refused():
    good = Clusters(np.eye(3, dtype=np.float32), np.array([0, 1, 2]), np.zeros(3, np.float32))
    check_clusters(good)
    for value, message in ((np.nan, 'norm nan'), (np.inf, 'norm inf'), (1.2, r'norm 1\.2')):
        centroids = good.centroids.copy()
        centroids[1, 1] = value
        with pytest.raises(FloatingPointError, match=f'centroid 1 has {message}'):
            check_clusters(replace(good, centroids=centroids))
    with pytest.raises(ValueError, match='nearest to centroid 1, 1 of 3 clusters are empty'):
        check_clusters(replace(good, assignment=np.array([0, 2, 2])))


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(rule='best'), "got 'best'"),
        (dict(limit=0.1), 'set the other to None'),
        (dict(keep_fraction=None), 'set the other to None'),
        (dict(keep_fraction=1.2), 'got 1.2'),
        (dict(cap=0.5), 'cap must be >= 1'),
        (dict(floor=1.3), 'floor 1.3 is above cap 1.2'),
    ],
)
def test_wrong_rules_are_refused_at_once(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(RULES, **changed)
