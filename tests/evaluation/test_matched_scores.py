import numpy as np
import pytest
import torch

from luss_mm.evaluation.cluster_matching import (
    GivenMatching,
    MatchingByRule,
    category_ids,
    read_match,
)
from luss_mm.evaluation.score_report import official_figures, scores_in_percent
from luss_mm.evaluation.segmentation_counts import SegmentationCounts
from luss_mm.functional.image_tally import tally_image
from luss_mm.functional.matching import MATCHING_RULES
from luss_mm.functional.scores import boundary_radius

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


def objects_of_all_sizes(num_categories, seed):
    """Squares of 1 to 90 % of the image, some at a limit of a bucket, a third of them ignored."""
    random = np.random.default_rng(seed)
    images = []
    for share in (1, 4, 5, 6, 24, 25, 26, 49, 50, 51, 90):
        truth = np.zeros((20, 50), dtype=np.int64)  # 10 pixels are 1 %
        truth.reshape(-1)[: 10 * share] = random.integers(1, num_categories + 1)
        truth = np.roll(truth, random.integers(20), axis=0)
        predicted = np.roll(truth, 2, axis=0) % (num_categories + 1)
        if seed % 3 == 0:
            truth = np.concatenate([truth, np.full((7, 50), IGNORED)])
            predicted = np.concatenate([predicted, predicted[:7]])
        images.append((predicted, truth))
    return images


@pytest.mark.parametrize('seed', range(3))
def test_every_size_is_there_and_equals_the_slow_reference(seed):
    images = objects_of_all_sizes(3, seed)
    scores = scores_of(images, category_ids(3), 3, 3)
    assert None not in official_figures(scores).values()
    assert_equals_slow(scores, images, {i: i for i in range(4)}, 3)


@pytest.mark.parametrize('match', [[0, 2, 1, 3], [0, 3, 3, 4], [0, 0, 2, 2], [0, 4, 4, 4]])
def test_a_given_match_equals_the_slow_reference(match):
    images = made_up_images(15, 3, 3, seed=4)
    pairs = {str(cluster): category for cluster, category in enumerate(match)}
    scores = scores_of(images, GivenMatching(pairs, 3, 3), 3, 3)
    assert_equals_slow(scores, images, dict(enumerate(match)), 3)


@pytest.mark.parametrize('rule', MATCHING_RULES)
def test_a_rules_own_match_given_scores_the_same(rule):
    images = made_up_images(25, 14, 6, seed=2)
    by_rule = scores_of(images, MatchingByRule(rule, 14, 6), 14, 6)
    match = dict(enumerate(by_rule.mapping.tolist()))
    given = scores_of(images, GivenMatching(match, 14, 6), 14, 6)
    assert official_figures(given) == official_figures(by_rule)
    assert torch.equal(given.iou, by_rule.iou)


def split_image(areas, category):
    """One row: so many pixels of cluster 1, 2, ...; the mask is one category."""
    predicted = np.repeat(np.arange(1, len(areas) + 1), areas)[None]
    return predicted, np.full_like(predicted, category)


def test_the_dominant_category_is_found_after_matching():
    # Clusters 2 and 3 are parts of category 2, together larger than cluster 1 of category 1.
    images = [split_image([3, 2, 2], 2), split_image([9, 0, 0], 1), split_image([0, 9, 9], 2)]
    scores = scores_of(images, MatchingByRule('majority', 3, 2), 3, 2)
    assert scores.mapping.tolist() == [0, 1, 2, 2] and scores.image_accuracy == 1
    # One to one, cluster 3 is unmatched and cluster 1 dominates the first image.
    images += [split_image([0, 5, 0], 2)] * 9
    scores = scores_of(images, MatchingByRule('image_hungarian', 3, 2), 3, 2)
    assert scores.mapping.tolist() == [0, 1, 2, 3]
    match = dict(enumerate(scores.mapping.tolist()))
    assert_equals_slow(scores, images, match, 2)


def test_a_tie_in_area_goes_to_the_lowest_category():
    tied = split_image([4, 4], 1)
    images = [tied, split_image([0, 9], 1), split_image([9, 0], 2), split_image([9, 0], 2)]
    scores = scores_of(images, MatchingByRule('pixel_hungarian', 2, 2), 2, 2)
    assert scores.mapping.tolist() == [0, 2, 1] and scores.image_accuracy == 1


def test_images_are_kept_only_where_the_match_decides():
    matching = MatchingByRule('image_hungarian', 3, 3)
    counts = SegmentationCounts(matching.layout)
    for areas in ([5, 4, 3], [5, 5, 3], [9, 0, 0]):
        maps = (torch.from_numpy(m) for m in split_image(areas, 1))
        counts.add(matching.entries(tally_image(*maps, 3, 3, IGNORED, 1)))
    assert [image.areas.tolist() for image in counts.open_images] == [[5, 5, 3]]


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


def test_size_classes_count_others_once_and_absent_classes_never():
    scores = scores_of(objects_of_all_sizes(1, 1), category_ids(4), 4, 4)
    assert scores.size_classes == {'S': 2, 'MS': 2, 'ML': 2, 'L': 2}
    # A perfect prediction is then 100, where a mean over all K + 1 would be at most 2 / 5.
    perfect = [(truth, truth) for _, truth in objects_of_all_sizes(1, 1)]
    figures = official_figures(scores_of(perfect, category_ids(4), 4, 4))
    assert figures['S'] == pytest.approx(100) and figures['mIoU'] == pytest.approx(40)


def test_what_a_match_file_must_be_is_named(tmp_path):
    path = tmp_path / 'match.json'
    for text, message in [('{', 'not JSON'), ('[1]', 'one JSON object'), ('{"1": "2"}', 'object')]:
        path.write_text(text)
        with pytest.raises(ValueError, match=f'match.json: .*{message}'):
            read_match(path)
    path.write_text('{"1": 2}')
    assert read_match(path) == {'1': 2}
