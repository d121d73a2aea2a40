"""Images and masks in. Importing this package registers data sets, samplers and transforms."""

from luss_mm.datasets import transforms
from luss_mm.datasets.class_labels import ClassLabelDataset
from luss_mm.datasets.imagenet_s import ImageNetSDataset, imagenet_s_categories
from luss_mm.datasets.luss_dataset import IGNORE_INDEX, LUSSDataset
from luss_mm.datasets.sample_seed import EpochSampler, sample_randomness

__all__ = [
    'IGNORE_INDEX',
    'ClassLabelDataset',
    'EpochSampler',
    'ImageNetSDataset',
    'LUSSDataset',
    'imagenet_s_categories',
    'sample_randomness',
    'transforms',
]
