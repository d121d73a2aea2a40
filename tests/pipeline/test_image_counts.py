import json

import numpy as np
import pytest
import torch

from luss_mm.functional.image_tally import tally_image
from luss_mm.pipeline.image_counts import (
    ImageCounts,
    ImageCountsWriter,
    foreground_iou,
    has_image_counts,
    rank_images,
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


def test_many_clusters_of_one_category_are_added():
    pixels = np.array([[50, 0], [0, 20], [0, 20], [10, 0]])
    counts = ImageCounts('a', np.array([0, 1, 2, 3]), np.array([0, 1]), pixels)
    assert foreground_iou(counts, np.array([0, 1, 1, 1]), 1) == 40 / 50
    assert foreground_iou(counts, np.array([0, 1, 1, 2]), 1) == 1  # unmatched pixels are no class


def test_an_image_without_categories_has_no_iou():
    counts = ImageCounts('a', np.array([0]), np.array([0]), np.array([[9]]))
    assert foreground_iou(counts, np.array([0, 1]), 1) is None


def test_the_ranking_begins_with_the_worst(tmp_path):
    truth = np.zeros((4, 4), dtype=np.int64)
    truth[:2] = 1
    half, wrong = np.where(np.arange(16).reshape(4, 4) < 4, 1, 0), 1 - truth
    images = [(half, truth), (truth, truth), (wrong, truth), (0 * truth, truth), (truth, truth)]
    evaluate(images, 1, 1, output_dir=tmp_path)
    ranking = rank_images(tmp_path)
    assert [path[-6] for _, path in ranking] == ['2', '3', '0', '1', '4']  # wrong before empty
    assert [iou for iou, _ in ranking] == [0, 0, 0.5, 1, 1]


def test_an_unfinished_evaluation_leaves_nothing(tmp_path):
    images = made_up_images(3, 2, 2)
    with pytest.raises(ValueError, match='3 images were counted'):
        evaluate(images, 2, 2, size=9, output_dir=tmp_path)
    assert not has_image_counts(tmp_path) and not list(tmp_path.iterdir())
    evaluate(images, 2, 2, output_dir=tmp_path)
    with pytest.raises(ValueError, match='3 images were counted'):
        evaluate(images, 2, 2, size=9, output_dir=tmp_path)
    assert len(list(read_image_counts(tmp_path))) == 3  # the finished one stays


def test_without_a_directory_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate(made_up_images(3, 2, 2), 2, 2)
    assert not list(tmp_path.iterdir())


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / 'image_counts.0.jsonl').write_text('{"image": "a"}\n')
    with pytest.raises(ValueError, match=r'image_counts\.0\.jsonl, line 1: damaged'):
        list(read_image_counts(tmp_path))


def test_files_of_more_ranks_are_removed(tmp_path):
    (tmp_path / 'image_counts.7.jsonl').write_text('{}\n')
    writer = ImageCountsWriter(tmp_path)
    predicted, truth = map(torch.from_numpy, made_up_images(1, 2, 2)[0])
    writer.add('a', tally_image(predicted, truth, 2, 2, IGNORED, 1))
    writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ['image_counts.0.jsonl']


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
