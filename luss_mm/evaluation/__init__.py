"""Label maps to scores."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    category_iou=('CategoryIoUMetric',),
    prediction_metric=('PredictionMetric',),
    unsupervised_iou=('UnsupervisedIoUMetric',),
)
