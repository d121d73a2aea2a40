"""The ImageNet-S benchmark: preparation, lists, masks and submissions.

Importing this package registers the data set.
"""

from luss_mm.imagenet_s.dataset import ImageNetSDataset, imagenet_s_categories

__all__ = ['ImageNetSDataset', 'imagenet_s_categories']
