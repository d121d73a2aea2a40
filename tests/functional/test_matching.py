import time

import numpy as np
import pytest
import torch

from luss_mm.functional.matching import (
    MATCHING_RULES,
    given_mapping,
    image_presence,
    match_by_rule,
    match_clusters,
)


@pytest.mark.parametrize('highest', [2, 15])
def test_919_categories_take_no_time(highest):
    random = np.random.default_rng(0)
    presence = random.integers(0, highest, (919, 919))
    start = time.perf_counter()
    match_clusters(presence)
    assert time.perf_counter() - start < 0.5


def test_no_clusters_or_no_categories():
    np.testing.assert_array_equal(match_clusters(np.zeros((0, 3), dtype=np.int64)), [0])
    np.testing.assert_array_equal(match_clusters(np.zeros((2, 0), dtype=np.int64)), [0, 1, 1])
    for rule in MATCHING_RULES:
        empty = np.zeros((2, 0), dtype=np.int64)
        np.testing.assert_array_equal(match_by_rule(rule, empty, empty), [0, 1, 1])


# ---------------------------------------------------------------- rules


def test_rules_look_at_their_own_counts():
    images = np.array([[3, 0], [0, 3], [0, 1]])
    pixels = np.array([[1, 9], [9, 1], [0, 2]])
    assert match_by_rule('image_hungarian', images, pixels).tolist() == [0, 1, 2, 3]
    assert match_by_rule('pixel_hungarian', images, pixels).tolist() == [0, 2, 1, 3]
    assert match_by_rule('majority', images, pixels).tolist() == [0, 2, 1, 2]
    assert set(MATCHING_RULES) == {'image_hungarian', 'pixel_hungarian', 'majority'}


def test_pixel_counts_beyond_float32_are_told_apart():
    pixels = np.array([[2**40, 2**40 + 1], [2**40, 2**40]])
    assert match_by_rule('pixel_hungarian', pixels * 0, pixels).tolist() == [0, 2, 1]


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="no matching rule 'best'. Take one of image_hungarian, "):
        match_by_rule('best', np.zeros((1, 1), dtype=int), np.zeros((1, 1), dtype=int))


def test_a_given_match_is_taken_as_it_is():
    mapping = given_mapping({'0': 0, '1': 2, '3': 0, '2': 2, '4': 4}, 4, 3)
    assert mapping.dtype == np.int64 and mapping.tolist() == [0, 2, 2, 0, 4]
    assert given_mapping({2: 1, 1: 3}, 2, 3).tolist() == [0, 3, 1]


@pytest.mark.parametrize(
    'match, message',
    [
        ({'0': 1, '1': 1, '2': 2}, 'keeps 0 .* at 0, not 1'),
        ({'1': 1}, r'no category for generated id 2 \(1 of 2 are missing\)'),
        ({'1': 1, '2': 2, '3': 1}, r'generated id 3, outside of \[0, 2\] \(2 clusters\)'),
        ({'1': 1, '2': 5}, r'id 2 category 5, outside of \[0, 3\] \(4 for unmatched\)'),
        ({'1': 1, '2': -1}, 'id 2 category -1'),
        ({'1': 1, 'cat': 2}, 'maps generated ids to category ids.*cat'),
        ({'1': 1, '2': None}, 'maps generated ids to category ids'),
    ],
)
def test_a_match_that_does_not_fit_is_named(match, message):
    with pytest.raises(ValueError, match=message):
        given_mapping(match, 2, 3)


# ---------------------------------------------------------------- presence


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_presence_of_ids(dtype):
    labels = torch.tensor([[0, 3, 3], [7, 0, 3]], dtype=dtype)
    assert image_presence(labels, 9).nonzero().flatten().tolist() == [0, 3, 7]
    assert image_presence(labels[:0], 9).tolist() == [False] * 9
