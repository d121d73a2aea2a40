"""A finished run at work: features, predictions of images and folders, export."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    inferencer=('LUSSInferencer',),
)
