"""A wrapped metric scores its own label map, under its own names and in its own folder."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from tests.two_ranks import run_on_two_ranks

CLASSES = dict(classes=('others', 'ant', 'bee'))
IOU = dict(type='mmseg.IoUMetric', ignore_index=1000)


def category_metric(directory):
    return dict(
        type='mmseg.CategoryIoUMetric',
        num_categories=2,
        output_dir=None if directory is None else str(directory),
        prefix=None,
    )


def made_up(index):
    """A sample whose pseudo-net is right everywhere and whose hybrid net nowhere but in others."""
    truth = np.random.default_rng(index).choice([0, 1, 2, 1000], (6, 7))
    truth[0, :4] = 0, 1, 2, 1000
    right = np.where(truth == 1000, 0, truth)
    fields = dict(
        gt_sem_seg=truth,
        pred_sem_seg=right,
        pred_pseudo=right,
        pred_hybrid=np.array([0, 2, 1])[right],
    )
    sample = SegDataSample(metainfo=dict(img_path=f'/data/ant/{index}.JPEG'))
    sample.set_data({k: PixelData(data=torch.as_tensor(v)[None]) for k, v in fields.items()})
    return sample


def evaluate(metrics, samples, size=None):
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = CLASSES
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(len(samples) if size is None else size)


def wrapped(metric, network):
    return dict(
        type='mmseg.PredictionMetric', metric=metric, prediction=f'pred_{network}', prefix=network
    )


@pytest.mark.parametrize('metric', [IOU, category_metric(None)], ids=['IoUMetric', 'CategoryIoU'])
def test_scores_of_each_prediction_side_by_side(mmseg_scope, metric):
    samples = [made_up(i) for i in range(3)]
    scores = evaluate([metric, wrapped(metric, 'hybrid'), wrapped(metric, 'pseudo')], samples)
    assert scores['mIoU'] == scores['pseudo/mIoU'] == 100
    only_others = 100 / 3  # the other two are swapped
    assert scores['hybrid/mIoU'] == pytest.approx(only_others, abs=0.01)
    names = {name for name in scores if '/' not in name}
    assert {f'pseudo/{name}' for name in names} <= scores.keys()


def test_a_missing_prediction_is_named(mmseg_scope):
    message = r"0.JPEG: the model made no 'pred_teacher', only pred_hybrid, pred_pseudo, pred_sem"
    with pytest.raises(ValueError, match=message):
        evaluate([wrapped(IOU, 'teacher')], [made_up(0)])


def score_a_share(rank):
    with DefaultScope.overwrite_default_scope('mmseg'):
        metrics = [wrapped(IOU, 'hybrid'), wrapped(category_metric(None), 'pseudo')]
        return evaluate(metrics, [made_up(i) for i in (rank, 2)], size=3)


def test_two_ranks_as_one(mmseg_scope):
    """The third image is scored on both ranks, as a sampler that fills up its last round does."""
    metrics = [wrapped(IOU, 'hybrid'), wrapped(category_metric(None), 'pseudo')]
    alone = evaluate(metrics, [made_up(i) for i in range(3)])
    assert run_on_two_ranks(score_a_share) == [alone, alone]
