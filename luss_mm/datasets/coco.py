"""COCO's 80 object categories and the background for lists of images."""

from mmseg.registry import DATASETS

from luss_mm.datasets.image_list import ImageListDataset
from luss_mm.functional.palette import category_palette

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
