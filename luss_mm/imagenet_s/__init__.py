"""The ImageNet-S benchmark: preparation, lists, masks and submissions."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    dataset=('ImageNetSDataset',),
    lists=('imagenet_s_categories',),
)
