import numpy as np
import pytest
import torch

from luss_mm.evaluation import CategoryIoUMetric


def score(predicted, truth):
    metric = CategoryIoUMetric(num_categories=2)
    metric.dataset_meta = dict(classes=('others', 'ant', 'bee'))
    fields = dict(pred_sem_seg=predicted, gt_sem_seg=truth)
    sample = {k: dict(data=torch.from_numpy(v)[None]) for k, v in fields.items()}
    metric.process(None, [sample | dict(img_path='a.jpg')])
    return metric.evaluate(1)


@pytest.fixture
def truth():
    return np.random.default_rng(0).choice([0, 1, 2, 1000], (8, 8))


def test_right_ids_score_fully(truth):
    assert score(np.where(truth == 1000, 0, truth), truth)['mIoU'] == 100


def test_wrong_ids_are_not_matched_to_right_ones(truth):
    swapped = np.array([0, 2, 1])[np.where(truth == 1000, 0, truth)]
    assert score(swapped, truth)['mIoU'] == pytest.approx(100 / 3, abs=0.01)  # "others" alone
