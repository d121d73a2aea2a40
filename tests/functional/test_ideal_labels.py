import numpy as np
import pytest

from luss_mm.functional.label_health import (
    foreground_overlap,
    with_true_categories,
    with_true_foreground,
)

IGNORED = 1000


@pytest.fixture(params=range(4))
def maps(request):
    rng = np.random.default_rng(request.param)
    labels = rng.integers(0, 4, (9, 11))
    truth = rng.choice([0, 0, 0, 1, 2, 3, IGNORED], (9, 11)).astype(np.int32)
    return labels, rng.integers(1, 4, (9, 11)), truth


def nearest_distances(y, x, truth):
    """Squared distance to every category of the mask, pixel by pixel."""
    found = {}
    for (row, column), category in np.ndenumerate(truth):
        if category not in (0, IGNORED):
            distance = (row - y) ** 2 + (column - x) ** 2
            found[category] = min(distance, found.get(category, distance))
    return found


def test_true_foreground_pixel_by_pixel(maps):
    labels, categories, truth = maps
    result = with_true_foreground(labels, categories, truth, IGNORED)
    for place, category in np.ndenumerate(truth):
        expected = 0 if category in (0, IGNORED) else labels[place] or categories[place]
        assert result[place] == expected


def test_true_categories_are_those_of_a_nearest_pixel(maps):
    labels, _, truth = maps
    result = with_true_categories(labels, truth, IGNORED)
    for (y, x), label in np.ndenumerate(labels):
        distances = nearest_distances(y, x, truth)
        if label == 0:
            assert result[y, x] == 0
        else:
            assert distances[result[y, x]] == min(distances.values())


def test_foreground_without_any_true_category_stays_wrong(maps):
    labels, _, truth = maps
    nothing = np.where(truth == IGNORED, IGNORED, 0)
    np.testing.assert_array_equal(with_true_categories(labels, nothing, IGNORED), labels)


def test_overlap_counts_pixels(maps):
    labels, _, truth = maps
    pairs = [(a > 0, b > 0) for a, b in zip(labels.flat, truth.flat, strict=True) if b != IGNORED]
    expected = sum(a and b for a, b in pairs) / sum(a or b for a, b in pairs)
    assert foreground_overlap(labels, truth, IGNORED) == expected
    nothing = np.where(truth == IGNORED, IGNORED, 0)
    assert np.isnan(foreground_overlap(np.where(truth == IGNORED, 1, 0), nothing, IGNORED))


def test_a_category_map_with_background_is_refused(maps):
    labels, categories, truth = maps
    with pytest.raises(ValueError, match='where the mask has an object'):
        with_true_foreground(labels * 0, categories * 0, truth, IGNORED)
