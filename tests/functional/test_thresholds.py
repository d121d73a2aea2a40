import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from luss_mm.functional.pixel_assignment import assign_pixels
from luss_mm.functional.score_histograms import otsu_threshold
from luss_mm.functional.thresholds import (
    SWEEP_THRESHOLDS,
    best_threshold,
    centre_scores,
    image_thresholds,
    merge_sweep_counts,
    sweep_counts,
)


def slow_variance(samples, threshold):
    low, high = samples[samples < threshold], samples[samples >= threshold]
    if len(low) == 0 or len(high) == 0:
        return 0.0
    return len(low) * len(high) * (low.mean() - high.mean()) ** 2 / len(samples) ** 2


def two_modes(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(
        np.where(rng.random(n) < 0.7, rng.normal(0.3, 0.08, n), rng.normal(0.7, 0.1, n)), 0, 1
    )


@pytest.mark.parametrize(('bins', 'low', 'high'), [(2, 0, 1), (40, 0, 1), (64, -2, 3)])
def test_otsu_equals_trying_every_edge_on_samples_at_bin_centres(bins, low, high):
    raw = low + two_modes(3000) * (high - low)
    counts, edges = np.histogram(raw, bins, (low, high))
    centres = np.repeat((edges[:-1] + edges[1:]) / 2, counts)
    by_edge = [slow_variance(centres, edge) for edge in edges]
    threshold = otsu_threshold(counts, low, high)
    assert slow_variance(centres, threshold) == pytest.approx(max(by_edge), rel=1e-12)
    best = [e for e, v in zip(edges, by_edge, strict=True) if v >= max(by_edge) * (1 - 1e-12)]
    assert threshold == pytest.approx((best[0] + best[-1]) / 2, abs=1e-12)


def test_otsu_takes_the_middle_of_a_gap():
    assert otsu_threshold([5, 0, 0, 0, 5]) == pytest.approx(0.5)
    assert otsu_threshold([9, 0, 0, 0, 0, 0, 0, 1, 0, 0]) == pytest.approx(0.4)
    assert otsu_threshold([0, 3, 0, 3, 0, 0], 0, 6) == pytest.approx(2.5)
    assert otsu_threshold([0, 3, 3, 0], 0, 4) == 2  # no gap: the upper edge of the lower bin


def test_otsu_with_a_billion_pixels_and_another_scale():
    counts = np.histogram(two_modes(3000), 500, (0, 1))[0]
    expected = otsu_threshold(counts)
    assert otsu_threshold(counts * 10**9) == expected
    assert otsu_threshold(torch.from_numpy(counts)) == expected


def test_otsu_with_one_kind_of_score_makes_all_of_it_foreground():
    assert otsu_threshold([0, 0, 7, 0]) == 0.5
    assert otsu_threshold([7]) == 0


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ([0, 0], 'empty'),
        ([], 'empty'),
        ([1, -1], '>= 0'),
        ([1, np.nan], 'finite'),
        ([[1]], 'shape'),
    ],
)
def test_otsu_refuses_what_is_no_histogram(counts, message):
    with pytest.raises(ValueError, match=message):
        otsu_threshold(counts)
    with pytest.raises(ValueError, match='range'):
        otsu_threshold([1, 1], 1, 1)


def make_images(num_images, num_clusters, num_categories, seed=0):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(num_images):
        shape = tuple(rng.integers(3, 14, size=2))
        category = rng.integers(1, num_categories + 1)
        score = rng.random(shape).astype(np.float32)
        truth = np.where(score + rng.normal(0, 0.2, shape) > 0.5, category, 0)
        score[rng.random(shape) < 0.2] = np.float32(rng.choice(SWEEP_THRESHOLDS))  # exact hits
        truth[rng.random(shape) < 0.1] = 1000
        cluster = (category * 3) % num_clusters + 1
        noise = rng.integers(1, num_clusters + 1, size=shape)
        images.append((score, np.where(rng.random(shape) < 0.7, cluster, noise), truth))
    return images


def slow_sweep(images, num_clusters, num_categories, thresholds, given=None):
    """Every threshold by itself: label maps, presence by sets, Hungarian, IoU by masks."""
    results = []
    for t in thresholds:
        presence = np.zeros((num_clusters, num_categories), np.int64)
        predictions = []
        for score, clusters, truth in images:
            predicted = np.where(score >= np.float32(t), clusters, 0)
            predictions.append((predicted[truth != 1000], truth[truth != 1000]))
            for g in set(predictions[-1][0].tolist()) - {0}:
                for c in set(predictions[-1][1].tolist()) - {0}:
                    presence[g - 1, c - 1] += 1
        match = {0: 0}
        for g, c in zip(*linear_sum_assignment(presence, maximize=True), strict=True):
            match[g + 1] = c + 1  # the clusters left over are never right
        match = match if given is None else dict(enumerate(given))
        predicted = np.array([match.get(g, -1) for p, _ in predictions for g in p.tolist()])
        truth = np.concatenate([t for _, t in predictions])
        ious = []
        for c in range(num_categories + 1):
            union = ((predicted == c) | (truth == c)).sum()
            ious.append(((predicted == c) & (truth == c)).sum() / (union + 1e-10))
        results.append(np.mean(ious))
    return np.array(results)


@pytest.mark.parametrize(('clusters', 'categories'), [(1, 1), (5, 5), (7, 4), (3, 6)])
def test_sweep_equals_applying_each_threshold_by_itself(clusters, categories):
    images = make_images(25, clusters, categories)
    counts = merge_sweep_counts([sweep_counts(*i, clusters, categories) for i in images])
    threshold, scores = best_threshold(counts)
    expected = slow_sweep(images, clusters, categories, SWEEP_THRESHOLDS)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)
    assert threshold == SWEEP_THRESHOLDS[int(np.argmax(scores))]


def test_sweep_compares_like_assign_pixels():
    """0.41 is no float32: both sides must round it the same way."""
    t = 0.41
    score = np.array([[np.float32(t), np.nextafter(np.float32(t), np.float32(0))]])
    labels = assign_pixels(
        torch.ones(1, 1, 1, 2), torch.ones(1, 1), torch.from_numpy(score)[None], t, (1, 2)
    )
    assert labels.tolist() == [[[1, 0]]]
    counts = sweep_counts(score, np.ones((1, 2), int), np.ones((1, 2), int), 1, 1, [t])
    assert counts.pixel_counts.tolist() == [1]


def test_image_that_is_all_ignored_counts_nothing():
    image = np.full((2, 2), 0.5), np.ones((2, 2), int), np.full((2, 2), 1000)
    counts = sweep_counts(*image, 2, 2)
    assert counts.truth_pixels.tolist() == [0, 0, 0] and counts.pixel_keys.size == 0
    assert best_threshold(merge_sweep_counts([counts, counts]))[1].tolist() == [0.0] * 81


def test_sweep_errors_are_named():
    score, clusters, truth = np.zeros((2, 2)), np.ones((2, 2), int), np.zeros((2, 2), int)
    with pytest.raises(ValueError, match='rising'):
        sweep_counts(score, clusters, truth, 2, 2, [0.2, 0.1])
    with pytest.raises(ValueError, match=r'mask \(1, 2\)'):
        sweep_counts(score, clusters, truth[:1], 2, 2)
    with pytest.raises(ValueError, match=r'cluster_map: ids 0 to 0 are outside of \[1, 2\]'):
        sweep_counts(score, clusters * 0, truth, 2, 2)
    with pytest.raises(ValueError, match=r'truth: ids 255 to 255 are outside of \[0, 2\]'):
        sweep_counts(score, clusters, truth + 255, 2, 2)
    with pytest.raises(ValueError, match='NaN'):
        sweep_counts(score * np.nan, clusters, truth, 2, 2)
    with pytest.raises(ValueError, match='no image'):
        merge_sweep_counts([])


def test_each_image_is_cut_at_its_own_threshold():
    generator = torch.Generator().manual_seed(0)
    dark = torch.rand(8, 9, generator=generator) * 0.1 + 0.3 * (torch.arange(9) > 5)
    bright = 0.5 + torch.rand(8, 9, generator=generator) * 0.1 + 0.3 * (torch.arange(9) > 2)
    scores = torch.stack([dark, bright])
    found = image_thresholds(scores)
    for score, threshold in zip(scores, found, strict=True):
        counts = np.histogram(score.numpy(), 256, (0, 1))[0]
        assert threshold == pytest.approx(otsu_threshold(counts))
    centred = centre_scores(scores)
    assert torch.equal(centred >= 0.5, scores >= found[:, None, None])
    assert (centred.amin((1, 2)) >= 0).all() and (centred.amax((1, 2)) <= 1).all()
    for before, after in zip(scores, centred, strict=True):  # order is kept
        assert (after.flatten()[before.flatten().argsort()].diff() >= 0).all()
    assert torch.equal(centre_scores(scores[1:]), centred[1:])  # whatever is beside it
    half = centre_scores(scores.half())
    assert half.dtype == torch.float32 and ((half >= 0.5) == (centred >= 0.5)).float().mean() > 0.95


@pytest.mark.parametrize('value', [0.0, 0.3, 1.0])
def test_image_of_one_score_is_all_foreground(value):
    centred = centre_scores(torch.full((1, 4, 4), value))
    assert centred.isfinite().all() and (centred >= 0.5).all() and (centred <= 1).all()


@pytest.mark.parametrize('value', np.linspace(0.01, 0.99, 25).tolist())
def test_scores_next_to_the_threshold_stay_on_their_side(value):
    scores = torch.tensor([0.0] * 9 + [value] * 9).reshape(1, 3, 6)
    threshold = image_thresholds(scores)
    scores[0, 0, 0] = threshold
    scores[0, 0, 1] = torch.nextafter(threshold, torch.zeros(1))
    kept = centre_scores(scores) >= 0.5
    assert torch.equal(kept, scores >= image_thresholds(scores)[:, None, None])
