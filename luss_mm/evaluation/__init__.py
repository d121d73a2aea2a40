"""Label maps to scores."""

from luss_mm.evaluation.unsupervised_iou import UnsupervisedIoUMetric

__all__ = ['UnsupervisedIoUMetric']
