"""The classes that unsupervised segmentation is compared on: coarser than those of mmseg's sets."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from luss_mm.functional.label_codec import category_palette

IGNORED = 255  # of mmseg's LoadAnnotations and BaseSegDataset
COCO_ABSENT = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)  # ids that no COCO-Stuff mask holds
CITYSCAPES_VOID = 7  # ids of Cityscapes' labelIds below this are void

# Ids of the stuffthingmaps files (COCO's own minus 1), in the order of the 27 classes.
COCO_CLASSES = {
    'electronic': range(71, 77),
    'appliance': range(77, 83),
    'food': range(51, 61),
    'furniture': range(61, 71),
    'indoor': range(83, 91),
    'kitchen': range(43, 51),
    'accessory': range(25, 33),
    'animal': range(15, 25),
    'outdoor': range(9, 15),
    'person': (0,),
    'sports': range(33, 43),
    'vehicle': range(1, 9),
    'ceiling': (101, 102),
    'floor': (100, *range(113, 118)),
    'food stuff': (120, 121, 152, 169),
    'furniture stuff': (97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164),
    'raw material': (99, 131, 138, 142),
    'textile': (91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167),
    'wall': range(170, 177),
    'window': (179, 180),
    'building': (94, 95, 127, 150, 157, 165),
    'ground': (110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158),
    'plant': (93, 96, 118, 123, 128, 133, 141, 162, 168),
    'sky': (105, 156),
    'solid': (126, 134, 149, 159, 161, 181),
    'structural': (98, 112, 137, 145, 163),
    'water': (119, 147, 154, 177, 178),
}
CITYSCAPES_CLASSES = (
    *('road', 'sidewalk', 'parking', 'rail track', 'building', 'wall', 'fence', 'guard rail'),
    *('bridge', 'tunnel', 'pole', 'polegroup', 'traffic light', 'traffic sign', 'vegetation'),
    *('terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'caravan', 'trailer', 'train'),
    *('motorcycle', 'bicycle'),
)
POTSDAM_CLASSES = {  # ids of mmseg's PotsdamDataset after its reduce_zero_label
    'roads and cars': (0, 4),
    'buildings and clutter': (1, 5),
    'vegetation and trees': (2, 3),
}


def _metainfo(classes: Sequence[str]) -> dict[str, Any]:
    palette = category_palette(len(classes) + 1)[1:]  # without black, which is no background here
    return dict(classes=tuple(classes), palette=palette.tolist())


def _coarse_ids(classes: Mapping[str, Sequence[int]]) -> dict[int, int]:
    return {fine: i for i, fines in enumerate(classes.values()) for fine in fines}


class CoarseDataset(BaseSegDataset):
    """Files of a data set of mmseg under coarser classes, which mmseg's `LoadAnnotations` applies.

    Args:
        coarse_ids: Id in the files to id of the class; 255 for pixels that count nowhere.
        **kwargs: As mmseg's BaseSegDataset, except that the classes are fixed.

    Raises:
        ValueError: If the metainfo names other classes.
    """

    def __init__(self, coarse_ids: Mapping[int, int], **kwargs: Any) -> None:
        self.coarse_ids = dict(coarse_ids)
        super().__init__(**kwargs)

    def get_label_map(self, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """What `LoadAnnotations` turns each id of a file into."""
        if tuple(new_classes) != self.METAINFO['classes']:
            raise ValueError(f'{type(self).__name__} has classes of its own: leave out classes')
        return self.coarse_ids


@DATASETS.register_module()
class Cityscapes27Dataset(CoarseDataset):
    """Cityscapes with the 27 classes of PiCIE and STEGO: all that are not void.

    Args:
        seg_map_suffix: The masks are `*_gtFine_labelIds.png`, as Cityscapes has them.
        **kwargs: As `CoarseDataset`.

    Source: ids 7 to 33 of labelIds, as Cho et al., PiCIE, CVPR 2021 (github.com/janghyuncho/PiCIE).
    """

    METAINFO = _metainfo(CITYSCAPES_CLASSES)

    def __init__(
        self,
        img_suffix: str = '_leftImg8bit.png',
        seg_map_suffix: str = '_gtFine_labelIds.png',
        **kwargs: Any,
    ) -> None:
        ids = dict.fromkeys(range(CITYSCAPES_VOID), IGNORED)
        ids |= {CITYSCAPES_VOID + i: i for i in range(len(CITYSCAPES_CLASSES))}
        super().__init__(ids, img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)


@DATASETS.register_module()
class COCOStuff27Dataset(CoarseDataset):
    """COCO-Stuff with the 27 classes of PiCIE and STEGO: 12 of things, 15 of stuff.

    Args:
        label_ids: What the masks hold: 'train', the 171 ids of mmseg's converter
            (`*_labelTrainIds.png`), or 'coco', the 182 of the stuffthingmaps archive (`*.png`).
        ann_file: List of the images; PiCIE and STEGO evaluate on those of PiCIE's
            `curated/val2017/Coco164kFull_Stuff_Coarse_7.txt`.
        **kwargs: As `CoarseDataset`.

    Raises:
        ValueError: If `label_ids` is neither.

    Source: the super-categories of Caesar et al., COCO-Stuff, CVPR 2018, numbered as in Ji et al.,
    IIC, ICCV 2019, and since (github.com/mhamilton723/STEGO, src/data.py).
    """

    METAINFO = _metainfo(tuple(COCO_CLASSES))

    def __init__(
        self,
        label_ids: str = 'train',
        img_suffix: str = '.jpg',
        seg_map_suffix: str | None = None,
        **kwargs: Any,
    ) -> None:
        ids = _coarse_ids(COCO_CLASSES)
        if label_ids == 'train':
            present = (fine for fine in sorted(ids) if fine not in COCO_ABSENT)
            ids = {train: ids[fine] for train, fine in enumerate(present)}
        elif label_ids != 'coco':
            raise ValueError(f"label_ids: 'train' or 'coco', not {label_ids!r}")
        suffix = '_labelTrainIds.png' if label_ids == 'train' else '.png'
        super().__init__(
            ids, img_suffix=img_suffix, seg_map_suffix=seg_map_suffix or suffix, **kwargs
        )


@DATASETS.register_module()
class Potsdam3Dataset(CoarseDataset):
    """ISPRS Potsdam with the 3 classes of IIC, PiCIE and STEGO.

    Args:
        reduce_zero_label: The files hold 0 for pixels that count nowhere, as mmseg's converter
            writes them.
        **kwargs: As `CoarseDataset`.

    Source: Ji et al., IIC, ICCV 2019 (github.com/mhamilton723/STEGO, src/data.py).
    """

    METAINFO = _metainfo(tuple(POTSDAM_CLASSES))

    def __init__(
        self,
        img_suffix: str = '.png',
        seg_map_suffix: str = '.png',
        reduce_zero_label: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            _coarse_ids(POTSDAM_CLASSES),
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            reduce_zero_label=reduce_zero_label,
            **kwargs,
        )
