"""A wrapped metric scores its own label map, under its own names and in its own folder."""

import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from luss_mm.evaluation import PredictionMetric
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


def test_same_scores_as_the_metric_alone(mmseg_scope):
    samples = [made_up(i) for i in range(3)]
    for sample in samples:
        sample.pred_sem_seg = sample.pred_hybrid
    alone = evaluate([category_metric(None)], samples)
    found = evaluate([wrapped(category_metric(None), 'hybrid')], samples)
    assert found == {f'hybrid/{name}': value for name, value in alone.items()}


def test_files_do_not_overwrite_each_other(mmseg_scope, tmp_path):
    metric = category_metric(tmp_path)
    evaluate([metric, wrapped(metric, 'hybrid'), wrapped(metric, 'pseudo')], [made_up(0)])
    figures = {
        name: json.loads((tmp_path / name / 'scores.json').read_text())['mIoU']
        for name in ('.', 'hybrid', 'pseudo')
    }
    assert figures['.'] == figures['pseudo'] == 100 and figures['hybrid'] < 50


def test_the_folder_may_be_given_from_outside(mmseg_scope, tmp_path):
    """As `tools/test.py --out` does."""
    metrics = [
        wrapped(category_metric(own), 'hybrid') | dict(output_dir=str(tmp_path / 'out'))
        for own in (None, tmp_path / 'own')
    ]
    evaluate(metrics[:1], [made_up(0)])
    assert (tmp_path / 'out/hybrid/scores.json').is_file()
    evaluate(metrics[1:], [made_up(0)])
    assert not (tmp_path / 'own').exists()


def test_other_metrics_see_the_samples_unchanged(mmseg_scope):
    sample = made_up(0).to_dict()
    before = sample['pred_sem_seg']['data'].clone()
    metric = PredictionMetric(IOU, 'pred_hybrid', 'hybrid')
    metric.dataset_meta = CLASSES
    metric.process(None, [sample])
    assert torch.equal(sample['pred_sem_seg']['data'], before)


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
