"""Transforms: files to arrays to views. Importing this package registers them with mmseg."""

from luss_mm.datasets.transforms.cached_maps import (
    CropCachedMaps,
    FlipCachedMaps,
    LoadCachedMaps,
    PackCachedMaps,
)
from luss_mm.datasets.transforms.colours import DistortColours
from luss_mm.datasets.transforms.cutmix_box import DrawCutMixBox
from luss_mm.datasets.transforms.formatting import (
    KeepLoadedImage,
    MarkValidPixels,
    PackImage,
    PackViews,
    collate_views,
)
from luss_mm.datasets.transforms.image_tags import SetImageTags
from luss_mm.datasets.transforms.indexed_labels import LoadIndexedLabelMap
from luss_mm.datasets.transforms.loading import LoadBoundedImage, LoadLabelMap
from luss_mm.datasets.transforms.multi_crop import MultiCrop
from luss_mm.datasets.transforms.pseudo_label import GeneratePseudoLabel, OrganizePseudoLabel
from luss_mm.datasets.transforms.resizing import (
    BoundImage,
    RandomResizedSegCrop,
    ResizeShortSide,
    ResizeSquare,
    ScoreAsResized,
)
from luss_mm.datasets.transforms.strong_operations import (
    PCTOperations,
    RandomColourOperations,
    RandomStrongOperations,
)

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
    'OrganizePseudoLabel',
    'PCTOperations',
    'PackCachedMaps',
    'PackImage',
    'PackViews',
    'RandomColourOperations',
    'RandomResizedSegCrop',
    'RandomStrongOperations',
    'ResizeShortSide',
    'ResizeSquare',
    'ScoreAsResized',
    'SetImageTags',
    'collate_views',
]
