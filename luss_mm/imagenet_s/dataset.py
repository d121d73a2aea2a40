"""The data set ImageNet-S50, -S300 or -S919."""

from mmseg.registry import DATASETS

from luss_mm.datasets.luss_dataset import LUSSDataset
from luss_mm.imagenet_s.lists import imagenet_s_categories


@DATASETS.register_module()
class ImageNetSDataset(LUSSDataset):
    """An ImageNet-S split; `dataset_meta` has names, WordNet ids and a palette of all K + 1 ids.

    Args:
        subset: 50, 300 or 919.
        metainfo: Added to the official metainfo.
        **kwargs: As `LUSSDataset`, except categories.
    """

    def __init__(self, subset: int, metainfo: dict | None = None, **kwargs: object) -> None:
        categories = imagenet_s_categories(subset)
        names = [name for _, name in categories]
        metainfo = dict(wnids=tuple(wnid for wnid, _ in categories)) | dict(metainfo or {})
        super().__init__(categories=names, metainfo=metainfo, **kwargs)
