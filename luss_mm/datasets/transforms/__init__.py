"""Transforms: files to arrays to views. Importing this package registers them with mmseg."""

from luss_mm.datasets.transforms.bound_image import BoundImage
from luss_mm.datasets.transforms.cached_maps import (
    CropCachedMaps,
    FlipCachedMaps,
    LoadCachedMaps,
    PackCachedMaps,
)
from luss_mm.datasets.transforms.cutmix_box import DrawCutMixBox
from luss_mm.datasets.transforms.distort_colours import DistortColours
from luss_mm.datasets.transforms.formatting import KeepLoadedImage, PackImage
from luss_mm.datasets.transforms.image_tags import SetImageTags
from luss_mm.datasets.transforms.indexed_labels import LoadIndexedLabelMap
from luss_mm.datasets.transforms.loading import LoadBoundedImage, LoadLabelMap
from luss_mm.datasets.transforms.multi_crop import MultiCrop
from luss_mm.datasets.transforms.pack_views import PackViews, collate_views
from luss_mm.datasets.transforms.pseudo_label import GeneratePseudoLabel
from luss_mm.datasets.transforms.random_resized_crop import RandomResizedSegCrop
from luss_mm.datasets.transforms.resize_short_side import ResizeShortSide
from luss_mm.datasets.transforms.score_as_resized import ScoreAsResized
from luss_mm.datasets.transforms.strong_colours import RandomColourOperations
from luss_mm.datasets.transforms.strong_operations import RandomStrongOperations
from luss_mm.datasets.transforms.valid_pixels import MarkValidPixels

__all__ = [
    'BoundImage',
    'CropCachedMaps',
    'DistortColours',
    'DrawCutMixBox',
    'FlipCachedMaps',
    'GeneratePseudoLabel',
    'KeepLoadedImage',
    'LoadBoundedImage',
    'LoadCachedMaps',
    'LoadIndexedLabelMap',
    'LoadLabelMap',
    'MarkValidPixels',
    'MultiCrop',
    'PackCachedMaps',
    'PackImage',
    'PackViews',
    'RandomColourOperations',
    'RandomResizedSegCrop',
    'RandomStrongOperations',
    'ResizeShortSide',
    'ScoreAsResized',
    'SetImageTags',
    'collate_views',
]
