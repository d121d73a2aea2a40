"""PASCAL VOC's 21 classes for lists of images."""

from mmseg.datasets import PascalVOCDataset
from mmseg.registry import DATASETS

from luss_mm.datasets.image_list import ImageListDataset


@DATASETS.register_module()
class VOCListDataset(ImageListDataset):
    """PASCAL VOC 2012, with or without the masks of SBD; id 0 is the background."""

    METAINFO = PascalVOCDataset.METAINFO
