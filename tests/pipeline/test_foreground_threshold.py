"""What the choice of the foreground threshold writes down."""

import json

import numpy as np
import pytest

from luss_mm.functional.score_histograms import histogram_quantile, otsu_threshold
from luss_mm.pipeline.generate_labels import ThresholdRule, choose_threshold

COUNTS = np.bincount(np.random.default_rng(0).binomial(99, 0.4, 5000), minlength=100)


def choose(folder, rule):
    return choose_threshold(folder, rule, None, COUNTS, np.zeros((2, 3), np.float32), {})


def test_certain_scores_lie_beside_the_threshold(tmp_path):
    choice = choose(tmp_path / 'threshold', ThresholdRule('otsu'))
    assert choice.threshold == otsu_threshold(COUNTS) and choice.used_ground_truth == ()
    low, high = choice.certain_scores
    assert (low, high) == (histogram_quantile(COUNTS, 0.4), histogram_quantile(COUNTS, 0.9))
    assert low < choice.threshold < high
    written = json.loads((tmp_path / 'threshold' / 'threshold.json').read_text())
    assert written == dict(rule='otsu', threshold=choice.threshold, certain_scores=[low, high])
    assert choose(tmp_path / 'threshold', ThresholdRule('otsu')) == choice


@pytest.mark.parametrize('threshold', [0.0, 0.05, 0.95])
def test_the_bounds_give_way_to_the_threshold(tmp_path, threshold):
    low, high = choose(tmp_path / 'threshold', ThresholdRule(threshold)).certain_scores
    assert low <= threshold <= high and threshold in (low, high)


def test_other_quantiles_are_not_taken_for_what_is_there(tmp_path):
    folder = tmp_path / 'threshold'
    first = choose(folder, ThresholdRule('otsu'))
    second = choose(folder, ThresholdRule('otsu', certain_quantiles=[0.1, 0.99]))
    assert second.certain_scores[0] < first.certain_scores[0]
    assert second.certain_scores[1] > first.certain_scores[1]


@pytest.mark.parametrize(
    'quantiles', [(0.9, 0.4), (-0.1, 0.5), (0.5, 1.1), (0.5,), (0.1, 0.2, 0.3)]
)
def test_wrong_quantiles_are_named(quantiles):
    with pytest.raises(ValueError, match='certain_quantiles: two rising shares'):
        ThresholdRule('otsu', certain_quantiles=quantiles)
