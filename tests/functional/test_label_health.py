from statistics import median

import numpy as np
import pytest

from luss_mm.functional.label_health import (
    count_unusual_clusters,
    foreground_problem,
    loses_foreground,
    median_of_counts,
)


@pytest.mark.parametrize('size', [1, 2, 3, 4, 50, 51])
def test_median_of_counts_is_that_of_the_values(size):
    values = np.random.default_rng(size).integers(0, 5, size) / 10
    counts = {value: int((values == value).sum()) for value in values}
    assert median_of_counts(counts) == pytest.approx(median(values.tolist()))


def test_unusual_clusters_one_by_one():
    images = [0, 1, 2, 20, 20, 20, 20, 80, 81]
    middle = median(images)
    few = sum(10 * number < middle for number in images)
    many = sum(number > 4 * middle for number in images)
    assert count_unusual_clusters(images) == (few, many) == (2, 1)
    assert count_unusual_clusters([7, 7]) == (0, 0)


@pytest.mark.parametrize(
    'empty, middle, expected',
    [
        (0.2, 0.3, None),
        (0.21, 0.3, '21% of the images have no foreground'),
        (0, 0.02, None),
        (0, 0.019, '1.9% of the median image'),
        (0, 0.9, None),
        (0, 0.91, '91.0% of the median image'),
    ],
)
def test_limits_of_the_foreground(empty, middle, expected):
    problem = foreground_problem(empty, middle)
    assert problem == expected if expected is None else expected in problem


def test_less_than_half_is_lost():
    assert loses_foreground(0.09, 0.2)
    assert not loses_foreground(0.1, 0.2) and not loses_foreground(0, 0)
