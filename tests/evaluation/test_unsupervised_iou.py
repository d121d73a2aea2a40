import itertools
import json

import cv2
import numpy as np
import pytest
from mmengine.dataset import DefaultSampler

from luss_mm.evaluation import CategoryIoUMetric, UnsupervisedIoUMetric
from luss_mm.functional.matching import MATCHING_RULES
from tests.left_over import left_over
from tests.two_ranks import run_on_two_ranks

from .metric_runs import data_sample, evaluate, read
from .slow_toolbox import IGNORED, made_up_images, slow_figures, slow_scores

# ---------------------------------------------------------------- scores


@pytest.mark.parametrize(
    'rule, num_images, num_clusters, num_categories',
    [
        *(
            (rule, *sizes)
            for rule in MATCHING_RULES
            for sizes in ((15, 4, 4), (15, 6, 4), (9, 1, 1))
        ),
        ('image_hungarian', 40, 3, 5),
        ('image_hungarian', 40, 300, 300),
        ('majority', 20, 310, 270),
    ],
)
def test_equals_the_slow_reference(rule, num_images, num_clusters, num_categories, tmp_path):
    images = made_up_images(num_images, num_clusters, num_categories)
    settings = dict(output_dir=tmp_path, matching=rule)
    scores = evaluate(images, num_clusters, num_categories, **settings)
    expected, match, ious = slow_scores(images, num_clusters, num_categories, rule)
    assert scores == expected
    assert scores['mIoU'] > 0 and scores['F-beta'] > 0
    assert {int(g): c for g, c in read(tmp_path / 'match.json').items()} == match
    rows = read(tmp_path / 'scores.json')['per_class']
    np.testing.assert_array_equal([row['IoU'] for row in rows], ious[0].round(2))
    np.testing.assert_array_equal([row['b-IoU'] for row in rows], ious[1].round(2))


@pytest.mark.parametrize('match', [[0, 2, 1, 3], [0, 3, 3, 4], [0, 0, 2, 2], [0, 4, 4, 4]])
def test_a_given_match_from_a_dict_or_a_file(tmp_path, match):
    images, match = made_up_images(15, 3, 3, seed=4), {str(g): c for g, c in enumerate(match)}
    (tmp_path / 'match.json').write_text(json.dumps(match))
    scores = evaluate(images, 3, 3, match=match, output_dir=tmp_path / 'out')
    assert scores == evaluate(images, 3, 3, match=tmp_path / 'match.json')
    figures, ious = slow_figures(images, {int(g): c for g, c in match.items()}, 3)
    for name, official in dict(mIoU='mIoU', ImgAcc='Acc').items():
        assert scores[name] == round(float(figures[official]), 2)
    report = read(tmp_path / 'out' / 'scores.json')
    np.testing.assert_array_equal([row['IoU'] for row in report['per_class']], ious[0].round(2))
    assert report['matching'] == 'given' and 'match clusters' not in report['ground_truth_use']
    assert report['unmatched_clusters'] == [int(g) for g, c in match.items() if c == 4]
    assert read(tmp_path / 'out' / 'match.json') == match
    with pytest.raises(ValueError, match='no category for generated id 4'):
        evaluate(images, 4, 3, match=match)


def test_category_ids_are_matched_to_nothing():
    """Also of images whose masks are ignored everywhere, or that share nothing with them."""
    truth = np.random.default_rng(0).choice([0, 1, 2, IGNORED], (8, 8))
    right, ignored = np.where(truth == IGNORED, 0, truth), np.full_like(truth, IGNORED)
    swapped, same = np.array([0, 2, 1]), {0: 0, 1: 1, 2: 2}
    for images in ([(right, truth)], [(swapped[right], truth)], [(right, ignored)]):
        metric = CategoryIoUMetric(num_categories=2)
        metric.dataset_meta = dict(classes=('others', 'ant', 'bee'))
        for index, image in enumerate(images):
            metric.process(None, [data_sample(index, *image).to_dict()])
        figures, _ = slow_figures(images, same, 2)
        scores = metric.evaluate(len(images))
        assert scores['mIoU'] == round(float(figures['mIoU']), 2)
        assert ('ML' in scores) == (figures['ML'] is not None)


# ---------------------------------------------------------------- the metric's behaviour


def test_a_second_evaluation_starts_afresh_and_keeps_nothing_per_image():
    metric = UnsupervisedIoUMetric(3, 3)
    for images in (made_up_images(7, 3, 3, seed=1), made_up_images(3, 3, 3, seed=2)):
        for index, image in enumerate(images):
            metric.process(None, [data_sample(index, *image).to_dict()])
        assert metric.results == [] and metric._counts.values.numel() == 12 * 16 + 40 + 3
        assert metric.evaluate(len(images)) == evaluate(images, 3, 3)


def test_predictions_are_saved_with_generated_ids(tmp_path):
    images = made_up_images(3, 919, 919, seed=3)
    evaluate(images, 919, 919, output_dir=tmp_path, save_predictions=True)
    for index, (predicted, _) in enumerate(images):
        bgr = cv2.imread(str(tmp_path / f'predictions/n01/image_{index}.png'))
        blue, green, red = (bgr[..., channel].astype(np.int64) for channel in range(3))
        np.testing.assert_array_equal(red + 256 * green, predicted)
        assert not blue.any()
    assert not left_over(tmp_path)


def one_error(predicted, truth, **settings):
    with pytest.raises(ValueError) as error:
        evaluate([(predicted, truth)], 3, 3, **settings)
    return str(error.value)


def test_errors_name_the_image_and_the_fix(tmp_path):
    good = np.zeros((8, 9), dtype=np.int64)
    bad = good.copy()
    bad[2, 2] = 255
    path = '/data/n01/image_0.JPEG: '
    assert one_error(bad, good).startswith(path + 'the prediction has ids 0 to 255')
    assert 'num_clusters=3' in one_error(bad, good)
    assert one_error(good, bad).startswith(path + 'the mask has ids 0 to 255')
    assert 'ignore_index=1000' in one_error(good, bad)
    assert path + 'the prediction has 8 x 9 pixels, its mask 4 x 9' in one_error(good, good[:4])
    assert 'save_predictions=True' in one_error(good, None)
    assert 'fractions' in one_error(good + 0.5, good)
    saving = dict(output_dir=tmp_path, save_predictions=True)
    assert one_error(bad, None, **saving).startswith(path + 'the prediction has ids 0 to 255')


def test_settings_that_contradict_are_named():
    images = made_up_images(2, 3, 3)
    with pytest.raises(ValueError, match='needs an output_dir'):
        UnsupervisedIoUMetric(3, save_predictions=True)
    with pytest.raises(ValueError, match='set num_categories'):
        evaluate(images, 3, None)
    with pytest.raises(ValueError, match='ignore_index=2 is one of the ids 0 to 3'):
        evaluate(images, 3, 3, ignore_index=2)
    metric = UnsupervisedIoUMetric(3, 3)
    with pytest.raises(ValueError, match='num_categories=3 needs 4 classes'):
        metric.dataset_meta = {'classes': ('others', 'cat')}  # before anything is trained
    with pytest.raises(ValueError, match="calls it 'road'. Set background=None"):
        metric.dataset_meta = {'classes': ('road', 'car', 'sky', 'tree')}
    with pytest.raises(ValueError, match='background is 0 or None'):
        UnsupervisedIoUMetric(3, background=3)


# ---------------------------------------------------------------- two processes


SETTINGS = {
    'official': {},
    'many to one': dict(matching='majority'),
    'given': dict(match={cluster: cluster % 11 for cluster in range(13)}),
}


def score_on_rank(rank, directory, sizes):
    scores = {}
    for (name, settings), size in itertools.product(SETTINGS.items(), sizes):
        images = made_up_images(size, 12, 9)
        output = directory / f'two_{name}_{size}'
        metric = UnsupervisedIoUMetric(
            12, 9, output_dir=output, save_predictions=name == 'given', **settings
        )
        for index in DefaultSampler(images, shuffle=False, seed=0):  # repeats image 0 if odd
            metric.process(None, [data_sample(index, *images[index]).to_dict()])
        scores[name, size] = metric.evaluate(size)
    unlabelled = UnsupervisedIoUMetric(12, 9, output_dir=directory / 'open', save_predictions=True)
    for index in DefaultSampler(images, shuffle=False, seed=0):
        unlabelled.process(None, [data_sample(index, images[index][0]).to_dict()])
    scores['without masks'] = unlabelled.evaluate(len(images))
    return scores


def test_two_processes_equal_one_exactly(tmp_path):
    sizes = [1, 4, 7]
    of_ranks = run_on_two_ranks(score_on_rank, tmp_path, sizes)
    assert of_ranks[0] == of_ranks[1]
    assert of_ranks[0].pop('without masks') == {}
    for name, size in of_ranks[0]:
        images, one = made_up_images(size, 12, 9), tmp_path / f'one_{name}_{size}'
        expected = evaluate(images, 12, 9, output_dir=one, **SETTINGS[name])
        assert of_ranks[0][name, size] == expected
        for file in ('match.json', 'scores.json'):
            two = tmp_path / f'two_{name}_{size}' / file
            assert two.read_bytes() == (one / file).read_bytes()
        if name == 'given':
            assert len(list((tmp_path / f'two_given_{size}').rglob('*.png'))) == size
