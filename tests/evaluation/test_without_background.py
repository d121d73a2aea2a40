"""The metric where no class is set apart, against PiCIE's and STEGO's protocol written slowly."""

from itertools import permutations

import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from luss_mm.evaluation import UnsupervisedIoUMetric

from .metric_runs import data_sample

VOID = 255


def slow_protocol(images, num_clusters, num_classes):
    """mIoU and accuracy in percent under the one-to-one match that gets most pixels right."""
    pairs = [
        (int(p), int(t))
        for predicted, truth in images
        for p, t in zip(predicted.flat, truth.flat, strict=True)
        if t != VOID
    ]
    places = [*range(num_classes), *[None] * max(0, num_clusters - num_classes)]
    renamed = max(
        ([(choice[p], t) for p, t in pairs] for choice in set(permutations(places, num_clusters))),
        key=lambda renamed: sum(p == t for p, t in renamed),
    )
    ious = []
    for c in range(num_classes):
        union = sum(c in pair for pair in renamed)
        if union:
            ious.append(sum(pair == (c, c) for pair in renamed) / union)
    right = sum(p == t for p, t in renamed) / len(renamed)
    return round(100 * sum(ious) / len(ious), 2), round(100 * right, 2)


def noisy_images(num_clusters, num_classes, seed):
    """Predictions that follow the truth in half of the pixels, under other numbers."""
    random = np.random.default_rng(seed)
    names = random.permutation(max(num_clusters, num_classes))
    for _ in range(3):
        truth = random.integers(num_classes, size=(8, 9))
        noise = random.integers(num_clusters, size=truth.shape)
        followed = names[truth] % num_clusters
        predicted = np.where(random.random(truth.shape) < 0.5, followed, noise)
        truth[random.random(truth.shape) < 0.1] = VOID
        yield predicted, truth


def score(images, num_clusters, classes, **settings):
    metric = UnsupervisedIoUMetric(num_clusters, background=None, **settings)
    evaluator = Evaluator(metric)
    # As the metainfo of mmseg's data sets, which does not name their ignore_index, 255.
    evaluator.dataset_meta = dict(classes=classes, reduce_zero_label=False, label_map=None)
    for index, image in enumerate(images):
        evaluator.process([data_sample(index, *image)])
    return evaluator.evaluate(len(images))


@pytest.mark.parametrize('num_clusters, num_classes', [(4, 4), (6, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_protocol_of_picie_and_stego(num_clusters, num_classes, seed):
    images = list(noisy_images(num_clusters, num_classes, seed))
    scores = score(images, num_clusters, list('abcde'[:num_classes]))
    assert (scores['mIoU'], scores['aAcc']) == slow_protocol(images, num_clusters, num_classes)


def test_what_does_not_fit_is_one_line():
    images = [(np.array([[0, 4]]), np.array([[0, 1]]))]
    with pytest.raises(ValueError, match=r'ids 0 to 4, outside of \[0, 3\] \(num_clusters=4, back'):
        score(images, 4, 'abcd')
    with pytest.raises(ValueError, match='num_categories=3 needs 3 classes, the data set names 4'):
        score(images, 4, 'abcd', num_categories=3)
    images = [(np.array([[0, 3]]), np.array([[0, 1]]))]
    with pytest.raises(ValueError, match=r'id 4, outside of \[0, 3\]'):
        score(images, 4, 'abcd', match={4: 0})
    with pytest.raises(ValueError, match='no category for generated id 3.*never right to 4'):
        score(images, 4, 'abcd', match={0: 1, 1: 0, 2: 4})
