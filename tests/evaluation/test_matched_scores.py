import numpy as np
import pytest
import torch

from luss_mm.evaluation.cluster_matching import (
    GivenMatching,
    MatchingByRule,
    category_ids,
)
from luss_mm.evaluation.score_report import official_figures, scores_in_percent
from luss_mm.evaluation.segmentation_counts import SegmentationCounts
from luss_mm.functional.image_tally import tally_image
from luss_mm.functional.matching import MATCHING_RULES
from luss_mm.functional.scores import boundary_radius
from luss_mm.work_dir.run_folder import read_match

from .slow_toolbox import IGNORED, made_up_images, slow_figures, slow_matching

OFFICIAL = 'Acc mIoU mBIoU FMeasure S MS ML L BS BMS BML BL'.split()


def scores_of(images, matching, num_clusters, num_categories):
    counts = SegmentationCounts(matching.layout)
    for predicted, truth in images:
        maps = torch.from_numpy(predicted), torch.from_numpy(truth)
        radius = boundary_radius(*truth.shape)
        tally = tally_image(*maps, num_clusters, num_categories, IGNORED, radius)
        counts.add(matching.entries(tally))
    return matching.scores(counts)


def assert_equals_slow(scores, images, match, num_categories):
    figures, ious = slow_figures(images, match, num_categories)
    actual = official_figures(scores)
    assert list(actual) == OFFICIAL
    for name, expected in figures.items():
        if expected is None:
            assert actual[name] is None, name
        else:
            assert actual[name] == pytest.approx(expected, abs=1e-9), name
    np.testing.assert_allclose(100 * scores.iou.numpy(), ious[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(100 * scores.boundary_iou.numpy(), ious[1], rtol=0, atol=1e-9)
    assert dict(enumerate(scores.mapping.tolist())) == match


@pytest.mark.parametrize('rule', MATCHING_RULES)
@pytest.mark.parametrize(
    'num_images, num_clusters, num_categories',
    [(12, 4, 4), (9, 1, 1), (15, 6, 4), (30, 3, 5), (20, 40, 12), (15, 300, 280)],
)
def test_all_figures_equal_the_slow_reference(rule, num_images, num_clusters, num_categories):
    images = made_up_images(num_images, num_clusters, num_categories)
    matching = MatchingByRule(rule, num_clusters, num_categories)
    scores = scores_of(images, matching, num_clusters, num_categories)
    match = slow_matching(images, num_clusters, num_categories, rule)
    assert_equals_slow(scores, images, match, num_categories)


@pytest.mark.parametrize('match', [[0, 2, 1, 3], [0, 3, 3, 4], [0, 0, 2, 2], [0, 4, 4, 4]])
def test_a_given_match_equals_the_slow_reference(match):
    images = made_up_images(15, 3, 3, seed=4)
    pairs = {str(cluster): category for cluster, category in enumerate(match)}
    scores = scores_of(images, GivenMatching(pairs, 3, 3), 3, 3)
    assert_equals_slow(scores, images, dict(enumerate(match)), 3)


def test_no_overlap_and_images_ignored_everywhere():
    truth = np.zeros((10, 12), dtype=np.int64)
    truth[:, :4] = 1
    predicted = np.where(truth == 1, 0, 2)
    ignored = np.full_like(truth, IGNORED)
    images = [(predicted, truth), (predicted, ignored)]
    scores = scores_of(images, category_ids(2), 2, 2)
    assert_equals_slow(scores, images, {0: 0, 1: 1, 2: 2}, 2)
    figures = official_figures(scores)
    assert figures['mIoU'] == 0 and figures['ML'] == 0 and figures['L'] is None
    nothing = scores_of([(predicted, ignored)], category_ids(2), 2, 2)
    assert_equals_slow(nothing, [(predicted, ignored)], {0: 0, 1: 1, 2: 2}, 2)
    assert scores_in_percent(nothing)['S'] is None


def test_what_a_match_file_must_be_is_named(tmp_path):
    path = tmp_path / 'match.json'
    for text, message in [('{', 'not JSON'), ('[1]', 'one JSON object'), ('{"1": 2.5}', 'object')]:
        path.write_text(text)
        with pytest.raises(ValueError, match=f'match.json: .*{message}'):
            read_match(path)
    path.write_text('{"1": 2}')
    assert read_match(path) == {'1': 2}
