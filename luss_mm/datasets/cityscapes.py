"""Cityscapes' 19 classes for lists of images."""

from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from luss_mm.datasets.image_list import ImageListDataset


@DATASETS.register_module()
class CityscapesListDataset(ImageListDataset):
    """Cityscapes with `labelTrainIds` masks; there is no background, id 0 is the road."""

    METAINFO = CityscapesDataset.METAINFO
