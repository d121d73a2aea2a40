"""Label maps to scores."""

from luss_mm.evaluation.category_iou import CategoryIoUMetric
from luss_mm.evaluation.prediction_metric import PredictionMetric
from luss_mm.evaluation.unsupervised_iou import UnsupervisedIoUMetric

__all__ = ['CategoryIoUMetric', 'PredictionMetric', 'UnsupervisedIoUMetric']
