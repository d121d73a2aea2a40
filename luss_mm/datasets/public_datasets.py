"""Public data sets with the names and ids that semi-supervised recipes take from them."""

from mmseg.datasets import CityscapesDataset, PascalVOCDataset
from mmseg.registry import DATASETS

from luss_mm.datasets.image_list import ImageListDataset
from luss_mm.functional.palette import category_palette


@DATASETS.register_module()
class CityscapesListDataset(ImageListDataset):
    """Cityscapes with `labelTrainIds` masks; there is no background, id 0 is the road."""

    METAINFO = CityscapesDataset.METAINFO


# In the order of COCO's own ids, which have gaps.
CATEGORIES = (
    *('person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat'),
    *('traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat'),
    *('dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack'),
    *('umbrella', 'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball'),
    *('kite', 'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket'),
    *('bottle', 'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple'),
    *('sandwich', 'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair'),
    *('couch', 'potted plant', 'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse'),
    *('remote', 'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink'),
    *('refrigerator', 'book', 'clock', 'vase', 'scissors', 'teddy bear', 'hair drier'),
    'toothbrush',
)


@DATASETS.register_module()
class COCOListDataset(ImageListDataset):
    """COCO with the masks of its instances drawn as ids 1..80; id 0 is the background."""

    METAINFO = dict(
        classes=('background', *CATEGORIES),
        palette=category_palette(1 + len(CATEGORIES)).tolist(),
    )


@DATASETS.register_module()
class VOCListDataset(ImageListDataset):
    """PASCAL VOC 2012, with or without the masks of SBD; id 0 is the background."""

    METAINFO = PascalVOCDataset.METAINFO
