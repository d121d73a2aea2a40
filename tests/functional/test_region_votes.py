import numpy as np
import pytest
import torch

from luss_mm.functional.mask_prompts import (
    cells_of_region,
    extreme_points,
    large_categories,
    largest_component_box,
    overlap,
    similarity_to_cells,
    vote_in_masks,
)
from tests.functional.test_mask_prompts import picture, slow_components


def test_large_categories_by_falling_area():
    labels = picture('11122', '11122', '33334', '.....')  # 6, 4, 4, 1 of 20 pixels
    assert large_categories(labels, 0.2) == [1, 2, 3]
    assert large_categories(labels, 0.21) == [1]
    assert large_categories(labels, 0.0) == [1, 2, 3, 4]
    assert large_categories(np.zeros((3, 4), int), 0.0) == []


def slow_cells(region, grid, covered):
    """The pixel under the centre of every cell, if there is one."""
    cells = np.zeros(grid, dtype=bool)
    for i, j in np.ndindex(*grid):
        y = int((i + 0.5) * region.shape[0] / covered[0])
        x = int((j + 0.5) * region.shape[1] / covered[1])
        cells[i, j] = y < region.shape[0] and x < region.shape[1] and region[y, x]
    return cells


@pytest.mark.parametrize(
    'size, covered', [((40, 60), (5.3, 8)), ((9, 7), (8, 6.25)), ((3, 4), (6, 8))]
)
def test_cells_are_those_whose_centre_shows_the_region(size, covered):
    rng = np.random.default_rng(0)
    for _ in range(5):
        region = rng.random(size) < 0.4
        cells = cells_of_region(region, (8, 8), covered)
        np.testing.assert_array_equal(cells, slow_cells(region, (8, 8), covered))
        assert cells.any() and not cells.all()


def test_a_region_between_all_centres_has_the_cells_of_its_pixels():
    region = np.zeros((40, 40), bool)
    region[10, 3:30] = True  # centres lie on rows 5, 15, 25, 35
    cells = cells_of_region(region, (4, 4), (4, 4))
    assert np.argwhere(cells).tolist() == [[1, 0], [1, 1], [1, 2]]


def test_similarity_is_the_cosine_of_the_mean_feature():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, 5, generator=generator)
    cells = torch.rand(4, 5, generator=generator) < 0.3
    mean = sum(features[:, y, x] for y, x in cells.nonzero().tolist()) / cells.sum()
    similarity = similarity_to_cells(features, cells)
    for y, x in np.ndindex(4, 5):
        feature = features[:, y, x]
        expected = (feature @ mean) / (feature @ feature).sqrt() / (mean @ mean).sqrt()
        assert abs(similarity[y, x] - expected) < 1e-6


def test_extreme_points_are_x_y_and_the_first_of_equals():
    values = np.array([[0.0, 2.0, -1.0], [2.0, -1.0, 1.0]])
    assert extreme_points(values) == ((1, 0), (2, 0))


def test_box_of_the_largest_component():
    rng = np.random.default_rng(1)
    for _ in range(10):
        region = rng.random((9, 11)) < 0.4
        largest = max(slow_components(region), key=len)
        ys, xs = zip(*largest, strict=True)
        expected = [[min(xs), min(ys), max(xs), max(ys)]]
        assert largest_component_box(region).tolist() == expected


def test_overlap():
    first, second = picture('11.', '1..') > 0, picture('.11', '1..') > 0
    assert overlap(first, second) == 0.5
    assert overlap(first, ~first) == 0 and overlap(first & ~first, first & ~first) == 0


def slow_vote(labels, masks):
    voted = labels.copy()
    order = sorted(range(len(masks)), key=lambda i: (-masks[i].sum(), i))
    for i in order:
        inside = [int(labels[y, x]) for y, x in np.argwhere(masks[i])]
        winner = min(set(inside), key=lambda c: (-inside.count(c), c))
        for y, x in np.argwhere(masks[i]):
            voted[y, x] = winner
    return voted if voted.any() else labels


def test_votes_equal_counting_by_hand():
    rng = np.random.default_rng(2)
    for _ in range(20):
        labels = rng.choice([0, 0, 1, 2, 300], (7, 8))
        masks = [rng.random((7, 8)) < share for share in (0.5, 0.2, 0.5, 0.1)]
        masks = [mask for mask in masks if mask.any()]
        voted = vote_in_masks(labels, masks)
        assert voted.dtype == np.int64
        np.testing.assert_array_equal(voted, slow_vote(labels, masks))


def test_a_vote_that_leaves_no_category_is_no_vote():
    labels = picture('1...', '....')
    voted = vote_in_masks(labels, [np.ones((2, 4), bool)])
    np.testing.assert_array_equal(voted, labels)
    assert voted is not labels
