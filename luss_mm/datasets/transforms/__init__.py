"""Transforms: files to arrays to views. Importing this package registers them with mmseg."""

from luss_mm.datasets.transforms.distort_colours import DistortColours
from luss_mm.datasets.transforms.formatting import KeepLoadedImage, PackImage
from luss_mm.datasets.transforms.loading import LoadBoundedImage, LoadLabelMap
from luss_mm.datasets.transforms.multi_crop import MultiCrop
from luss_mm.datasets.transforms.pseudo_label import GeneratePseudoLabel
from luss_mm.datasets.transforms.random_resized_crop import RandomResizedSegCrop

__all__ = [
    'DistortColours',
    'GeneratePseudoLabel',
    'KeepLoadedImage',
    'LoadBoundedImage',
    'LoadLabelMap',
    'MultiCrop',
    'PackImage',
    'RandomResizedSegCrop',
]
