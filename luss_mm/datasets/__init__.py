"""Images and masks in. Importing this package registers data sets, samplers and transforms."""

from luss_mm.datasets import transforms
from luss_mm.datasets.class_labels import ClassLabelDataset
from luss_mm.datasets.coarse_classes import (
    Cityscapes27Dataset,
    COCOStuff27Dataset,
    Potsdam3Dataset,
)
from luss_mm.datasets.endless_samplers import IterationSampler, SemiSampler
from luss_mm.datasets.image_list import (
    CityscapesListDataset,
    COCOListDataset,
    ImageListDataset,
    VOCListDataset,
)
from luss_mm.datasets.luss_dataset import IGNORE_INDEX, LUSSDataset
from luss_mm.datasets.sample_seed import EpochIndex, EpochSampler, sample_randomness
from luss_mm.datasets.seeded_dataset import SeededDataset
from luss_mm.datasets.semi_dataset import RelabelledDataset, SemiDataset

__all__ = [
    'IGNORE_INDEX',
    'COCOListDataset',
    'COCOStuff27Dataset',
    'Cityscapes27Dataset',
    'CityscapesListDataset',
    'ClassLabelDataset',
    'EpochIndex',
    'EpochSampler',
    'ImageListDataset',
    'IterationSampler',
    'LUSSDataset',
    'Potsdam3Dataset',
    'RelabelledDataset',
    'SeededDataset',
    'SemiDataset',
    'SemiSampler',
    'VOCListDataset',
    'sample_randomness',
    'transforms',
]
