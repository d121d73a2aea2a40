import itertools
import time

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from luss_mm.functional.matching import image_presence, match_clusters, presence_counts


def matched_total(presence, mapping):
    return sum(
        int(presence[cluster - 1, category - 1])
        for cluster, category in enumerate(mapping)
        if cluster > 0 and category > 0
    )


def best_total_by_permutations(presence):
    if presence.shape[0] > presence.shape[1]:
        presence = presence.T
    rows, columns = presence.shape
    return max(
        sum(presence[row, column] for row, column in enumerate(choice))
        for choice in itertools.permutations(range(columns), rows)
    )


def best_total_by_linear_programme(presence):
    """The assignment polytope's optimum: its corners are the matchings."""
    rows, columns = presence.shape
    constraints = np.concatenate(
        [np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))]
    )
    result = linprog(-presence.flatten(), constraints, np.ones(rows + columns), bounds=(0, 1))
    return -result.fun


@pytest.mark.parametrize('shape', [(1, 1), (2, 2), (3, 3), (6, 6), (4, 6), (6, 4), (1, 5), (5, 1)])
@pytest.mark.parametrize('highest', [2, 40])
def test_equals_trying_every_permutation(shape, highest):
    for seed in range(10):
        presence = np.random.default_rng(seed).integers(0, highest, shape)
        mapping = match_clusters(presence)
        assert mapping.dtype == np.int64 and mapping.shape == (shape[0] + 1,)
        assert mapping[0] == 0
        assert matched_total(presence, mapping) == best_total_by_permutations(presence)


@pytest.mark.parametrize('shape', [(30, 30), (30, 22), (22, 30)])
def test_total_equals_the_linear_programme(shape):
    for seed in range(3):
        presence = np.random.default_rng(seed).integers(0, 100, shape)
        total = matched_total(presence, match_clusters(presence))
        assert total == pytest.approx(best_total_by_linear_programme(presence), abs=1e-6)


@pytest.mark.parametrize('shape', [(7, 4), (4, 7), (5, 5)])
def test_every_category_is_used_once_and_the_rest_is_others(shape):
    mapping = match_clusters(np.random.default_rng(0).integers(0, 9, shape))
    used = mapping[mapping > 0]
    assert len(set(used)) == len(used) == min(shape)
    assert (mapping[1:] == 0).sum() == max(0, shape[0] - shape[1])


def test_a_cluster_that_never_occurs_still_gets_a_category():
    np.testing.assert_array_equal(match_clusters(np.zeros((3, 3), dtype=np.int64)), [0, 1, 2, 3])


def test_the_same_matrix_gives_the_same_answer():
    presence = np.random.default_rng(0).integers(0, 2, (50, 50))  # full of ties
    first = match_clusters(presence)
    for dtype in (np.int64, np.int32, np.uint8):
        np.testing.assert_array_equal(match_clusters(presence.astype(dtype)), first)


@pytest.mark.parametrize('highest', [2, 15])
def test_919_categories_take_no_time(highest):
    random = np.random.default_rng(0)
    presence = random.integers(0, highest, (919, 919))
    start = time.perf_counter()
    match_clusters(presence)
    assert time.perf_counter() - start < 0.5


def test_no_clusters_or_no_categories():
    np.testing.assert_array_equal(match_clusters(np.zeros((0, 3), dtype=np.int64)), [0])
    np.testing.assert_array_equal(match_clusters(np.zeros((2, 0), dtype=np.int64)), [0, 0, 0])


@pytest.mark.parametrize(
    'presence, message',
    [
        (np.zeros(3, dtype=np.int64), r'matrix, got \(3,\)'),
        (np.zeros((2, 2)), 'float64'),
        (np.array([[1, -1]]), 'got -1'),
    ],
)
def test_wrong_counts_are_named(presence, message):
    with pytest.raises(ValueError, match=message):
        match_clusters(presence)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_presence_of_ids(dtype):
    labels = torch.tensor([[0, 3, 3], [7, 0, 3]], dtype=dtype)
    assert image_presence(labels, 9).nonzero().flatten().tolist() == [0, 3, 7]
    assert image_presence(labels[:0], 9).tolist() == [False] * 9


@pytest.mark.parametrize('labels', [[0, 9], [-1, 3]])
def test_presence_names_ids_out_of_range(labels):
    with pytest.raises(ValueError, match=r'outside of \[0, 9\)'):
        image_presence(torch.tensor(labels), 9)


@pytest.mark.parametrize('num_clusters, num_categories', [(1, 1), (4, 7), (300, 260)])
def test_presence_counts_equal_counting_by_hand(num_clusters, num_categories):
    random = np.random.default_rng(0)
    predicted = random.random((40, num_clusters + 1)) < 0.2
    true = random.random((40, num_categories + 1)) < 0.2
    expected = np.zeros((num_clusters, num_categories), dtype=np.int64)
    for clusters, categories in zip(predicted, true, strict=True):
        for cluster in np.flatnonzero(clusters[1:]):
            expected[cluster, np.flatnonzero(categories[1:])] += 1
    counts = presence_counts(torch.from_numpy(predicted), torch.from_numpy(true))
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), expected)


def test_unequal_numbers_of_images_are_named():
    with pytest.raises(ValueError, match='3 predictions for 2 masks'):
        presence_counts(torch.ones(3, 4, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool))
