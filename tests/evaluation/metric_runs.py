"""The metric run on made-up images through mmengine's evaluator."""

import json

import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from luss_mm.evaluation import UnsupervisedIoUMetric

FIGURES = ('mIoU', 'b-mIoU', 'ImgAcc', 'F-beta')  # and those of the size buckets that are there


def data_sample(index, predicted, truth=None, folder='n01'):
    sample = SegDataSample(metainfo={'img_path': f'/data/{folder}/image_{index}.JPEG'})
    sample.pred_sem_seg = PixelData(data=torch.as_tensor(predicted)[None])
    if truth is not None:
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(truth)[None])
    return sample


def evaluate(images, num_clusters, num_categories, size=None, **settings):
    metric = UnsupervisedIoUMetric(num_clusters, num_categories, **settings)
    evaluator = Evaluator(metric)
    for index, (predicted, truth) in enumerate(images):
        evaluator.process([data_sample(index, predicted, truth)])
    return evaluator.evaluate(len(images) if size is None else size)


def read(path):
    return json.loads(path.read_text())
