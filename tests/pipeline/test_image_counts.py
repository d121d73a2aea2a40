import json

import numpy as np
import pytest

from luss_mm.pipeline.image_counts import (
    foreground_iou,
    has_image_counts,
    read_image_counts,
)
from tests.evaluation.metric_runs import data_sample, evaluate
from tests.evaluation.slow_toolbox import IGNORED, made_up_images
from tests.two_ranks import run_on_two_ranks


def slow_foreground_iou(predicted, truth, match, num_categories):
    """Pixel by pixel, from the label maps."""
    known = truth != IGNORED
    renamed = np.vectorize(match.__getitem__)(predicted)[known]
    true = truth[known]
    ious = []
    for category in range(1, num_categories + 1):
        either = ((renamed == category) | (true == category)).sum()
        if either:
            ious.append(((renamed == category) & (true == category)).sum() / either)
    return float(np.mean(ious)) if ious else None


@pytest.mark.parametrize('num_clusters, num_categories', [(4, 4), (6, 4), (3, 5), (300, 300)])
def test_an_evaluation_leaves_what_every_image_contributed(num_clusters, num_categories, tmp_path):
    images = made_up_images(12, num_clusters, num_categories)
    evaluate(images, num_clusters, num_categories, output_dir=tmp_path)
    match = {int(k): v for k, v in json.loads((tmp_path / 'match.json').read_text()).items()}
    mapping = np.array([match[cluster] for cluster in range(num_clusters + 1)])
    found = list(read_image_counts(tmp_path))
    assert [counts.image for counts in found] == [f'/data/n01/image_{i}.JPEG' for i in range(12)]
    for counts, (predicted, truth) in zip(found, images, strict=True):
        for row, cluster in enumerate(counts.clusters):
            for column, category in enumerate(counts.categories):
                both = (predicted == cluster) & (truth == category)
                assert counts.pixels[row, column] == both.sum()
        assert counts.pixels.sum() == (truth != IGNORED).sum()
        expected = slow_foreground_iou(predicted, truth, match, num_categories)
        assert foreground_iou(counts, mapping, num_categories) == pytest.approx(expected)


def test_an_unfinished_evaluation_leaves_nothing(tmp_path):
    images = made_up_images(3, 2, 2)
    with pytest.raises(ValueError, match='3 images were counted'):
        evaluate(images, 2, 2, size=9, output_dir=tmp_path)
    assert not has_image_counts(tmp_path) and not list(tmp_path.iterdir())
    evaluate(images, 2, 2, output_dir=tmp_path)
    with pytest.raises(ValueError, match='3 images were counted'):
        evaluate(images, 2, 2, size=9, output_dir=tmp_path)
    assert len(list(read_image_counts(tmp_path))) == 3  # the finished one stays


def write_on_this_rank(rank, directory):
    from mmengine.dataset import DefaultSampler
    from mmengine.evaluator import Evaluator

    from luss_mm.evaluation import UnsupervisedIoUMetric

    images = made_up_images(5, 3, 3)
    evaluator = Evaluator(UnsupervisedIoUMetric(3, 3, output_dir=directory))
    for index in DefaultSampler(images, shuffle=False):  # the sixth is a repetition
        evaluator.process([data_sample(index, *images[index])])
    evaluator.evaluate(5)


@pytest.mark.slow
def test_two_ranks_write_every_image_once(tmp_path):
    run_on_two_ranks(write_on_this_rank, tmp_path)
    paths = sorted(counts.image for counts in read_image_counts(tmp_path))
    assert paths == [f'/data/n01/image_{i}.JPEG' for i in range(5)]
    assert len(list(tmp_path.glob('image_counts.*'))) == 2
