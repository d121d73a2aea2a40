"""Images and masks in. Importing this package registers data sets, samplers and transforms."""

from luss_mm.datasets import transforms
from luss_mm.datasets.cityscapes import CityscapesListDataset
from luss_mm.datasets.class_labels import ClassLabelDataset
from luss_mm.datasets.coarse_classes import (
    Cityscapes27Dataset,
    COCOStuff27Dataset,
    Potsdam3Dataset,
)
from luss_mm.datasets.coco import COCOListDataset
from luss_mm.datasets.endless_passes import IterationSampler
from luss_mm.datasets.image_list import ImageListDataset
from luss_mm.datasets.luss_dataset import IGNORE_INDEX, LUSSDataset
from luss_mm.datasets.relabelled import RelabelledDataset
from luss_mm.datasets.sample_seed import EpochIndex, EpochSampler, sample_randomness
from luss_mm.datasets.seeded_dataset import SeededDataset
from luss_mm.datasets.semi_dataset import SemiDataset
from luss_mm.datasets.semi_sampler import SemiSampler
from luss_mm.datasets.voc import VOCListDataset

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
