"""Label maps to scores."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__, metrics=('CategoryIoUMetric', 'PredictionMetric', 'UnsupervisedIoUMetric')
)
