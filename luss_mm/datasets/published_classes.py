"""Data sets with published classes, of lists of images and of coarse ids."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset, CityscapesDataset, PascalVOCDataset
from mmseg.registry import DATASETS

from luss_mm.datasets.image_index import make_entry
from luss_mm.datasets.image_walk import find_sharing, label_map_name
from luss_mm.datasets.seeded_dataset import SeededDataset
from luss_mm.functional.label_codec import category_palette

MAX_DIGITS = 9  # of an id in a file of tags
NO_TEXT = re.compile('[\0\ud800-\udfff]')  # what decoding leaves of bytes that are no UTF-8


@DATASETS.register_module()
class ImageListDataset(SeededDataset):
    """The images of a list, in its order; each line is `image` or `image mask`.

    Paths are relative to data_root, without spaces. An image without a mask gives a sample without
    `seg_map_path`.

    Args:
        image_list: Text file.
        data_root: Folder that the paths in the list are relative to.
        tags: Where the ids of each image come from: None, it has none; 'masks', from its mask (see
            `SetImageTags`), also with `masks=False`, where masks serve for nothing else; otherwise
            a text file with lines `image id id ...` for at least the images of the list.
        label_folder: Folder below data_root, or an absolute one, with label maps, named by
            `label_map_name`, in the ImageNet-S coding, instead of the masks of the list.
            They may be made later.
        masks: False trains on no mask: the second column is not looked at, unless for tags.
        categories: Names of the ids 1..K; None leaves the ids nameless.
        **kwargs: As `SeededDataset`.

    Raises:
        FileNotFoundError: If a list, an image or a mask is missing, naming file and line.
        ValueError: If a line is wrong, naming file and line, or arguments contradict one another.
    """

    def __init__(
        self,
        image_list: str,
        data_root: str = '',
        tags: str | None = None,
        label_folder: str | None = None,
        masks: bool = True,
        categories: Sequence[str] | None = None,
        **kwargs: object,
    ) -> None:
        if label_folder and (not masks or tags == 'masks'):
            raise ValueError(
                f'label_folder={label_folder!r} replaces the masks of {image_list}: it goes '
                "neither with masks=False nor with tags='masks'"
            )
        self.image_list = Path(image_list)
        self.image_folders = self.given_folders = [Path(data_root)]
        self.label_folder = Path(data_root, label_folder) if label_folder else None
        self.masks = masks
        self.tags = tags
        super().__init__(names=categories, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One small dict an image, in the order of the list."""
        reads_tag_file = self.tags not in (None, 'masks')
        num_ids = len(self.metainfo.get('classes') or ())
        tags = _read_tags(Path(self.tags), num_ids) if reads_tag_file else None
        entries = []
        for where, words in _read_lines(self.image_list):
            entry = self._entry(where, words)
            if tags is not None:
                if words[0] not in tags:
                    raise ValueError(f'{where}: {words[0]} has no line in {self.tags}')
                entry['image_tags'] = tags[words[0]]
            entries.append(entry)
        if not entries:
            raise ValueError(f'{self.image_list}: lists no image')
        entries = self.without_bad(entries)
        self._paths = [os.path.relpath(e['img_path'], self.image_folders[0]) for e in entries]
        if self.label_folder is not None:
            sharing = find_sharing(lambda: self._paths)
            for entry, path in zip(entries, self._paths, strict=True):
                name = label_map_name(path, sharing, self.seg_map_suffix)
                entry['seg_map_path'] = str(self.label_folder / name)
        return entries

    def all_paths(self) -> list[str]:
        """Relative paths of all images of the list that are not known to be bad."""
        self.full_init()
        return self._paths

    def _entry(self, where: str, words: Sequence[str]) -> dict:
        if len(words) > 2:
            raise ValueError(f"{where}: 'image' or 'image mask', not {len(words)} words")
        image = self._existing(where, words[0])
        if self.label_folder is not None:
            return make_entry(image)  # its label map is named when all images are known
        if not self.masks and self.tags != 'masks':
            return make_entry(image)
        if len(words) == 1:
            if self.tags == 'masks':
                raise ValueError(f"{where}: tags='masks' needs a mask beside {words[0]}")
            return make_entry(image)
        entry = make_entry(image, self._existing(where, words[1]))
        if not self.masks:
            entry['mask_is_hidden'] = True  # MarkValidPixels takes it away
        return entry

    def _existing(self, where: str, relative: str) -> str:
        _refuse_path_outside(where, relative)
        path = os.path.join(self.image_folders[0], relative)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'{where}: no file {path}. Set data_root or fix the list.')
        return path


def _read_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Place and words of each line of a list of images.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If a line is blank, a comment, no UTF-8, or names an image twice or outside
            data_root.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such list of images.')
    first_lines: dict[str, int] = {}
    with path.open(encoding='utf-8-sig', errors='surrogateescape') as file:
        for number, line in enumerate(file, start=1):
            where, words = f'{path}, line {number}', line.split()
            if NO_TEXT.search(line):
                raise ValueError(f'{where}: is no UTF-8 text. Save the list as UTF-8.')
            if not words:
                raise ValueError(f'{where}: is blank. Remove it.')
            if words[0].startswith('#'):
                raise ValueError(
                    f'{where}: is a comment, which such a list cannot have. Remove it.'
                )
            _refuse_path_outside(where, words[0])
            first = first_lines.setdefault(words[0], number)
            if first != number:
                raise ValueError(f'{where}: names {words[0]} again, see line {first}')
            yield where, words


def _refuse_path_outside(where: str, path: str) -> None:
    if os.path.isabs(path) or '..' in path.split('/'):
        raise ValueError(f'{where}: {path} must be relative to data_root and lie below it')


def _read_tags(path: Path, num_ids: int) -> dict[str, tuple[int, ...]]:
    """Sorted ids of each image of a file with lines `image id id ...`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is wrong, or an id is not one of the `num_ids` that have names (0:
            nothing has).
    """
    tags = {}
    for where, (image, *ids) in _read_lines(path):
        if not all(i.isascii() and i.isdecimal() and len(i) <= MAX_DIGITS for i in ids):
            raise ValueError(f"{where}: 'image id id ...' with whole numbers, not {' '.join(ids)}")
        found = tuple(sorted({int(i) for i in ids}))
        if num_ids and found and found[-1] >= num_ids:
            raise ValueError(f'{where}: id {found[-1]} of {num_ids} ids 0..{num_ids - 1}')
        tags[image] = found
    return tags


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
        **kwargs: As mmseg's BaseSegDataset, except that the classes are fixed.

    Raises:
        ValueError: If the metainfo names other classes.

    Attributes:
        coarse_ids: Id in the files to id of the class; 255 for pixels that count nowhere.
        defaults: Arguments unless they are given.
    """

    coarse_ids: dict[int, int]
    defaults: Mapping[str, Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**self.defaults, **kwargs})

    def get_label_map(self, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """What `LoadAnnotations` turns each id of a file into."""
        if tuple(new_classes) != self.METAINFO['classes']:
            raise ValueError(f'{type(self).__name__} has classes of its own: leave out classes')
        return self.coarse_ids


@DATASETS.register_module()
class Cityscapes27Dataset(CoarseDataset):
    """Cityscapes with the 27 classes of PiCIE and STEGO: all that are not void.

    The masks are `*_gtFine_labelIds.png`, as Cityscapes has them.

    Source: ids 7 to 33 of labelIds, as Cho et al., PiCIE, CVPR 2021 (github.com/janghyuncho/PiCIE).
    """

    METAINFO = _metainfo(CITYSCAPES_CLASSES)
    coarse_ids = dict.fromkeys(range(CITYSCAPES_VOID), IGNORED) | {
        CITYSCAPES_VOID + i: i for i in range(len(CITYSCAPES_CLASSES))
    }
    defaults = dict(img_suffix='_leftImg8bit.png', seg_map_suffix='_gtFine_labelIds.png')


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
    defaults = dict(img_suffix='.jpg', seg_map_suffix='.png')

    def __init__(self, label_ids: str = 'train', **kwargs: Any) -> None:
        self.coarse_ids = ids = _coarse_ids(COCO_CLASSES)
        if label_ids == 'train':
            present = (fine for fine in sorted(ids) if fine not in COCO_ABSENT)
            self.coarse_ids = {train: ids[fine] for train, fine in enumerate(present)}
            self.defaults = self.defaults | dict(seg_map_suffix='_labelTrainIds.png')
        elif label_ids != 'coco':
            raise ValueError(f"label_ids: 'train' or 'coco', not {label_ids!r}")
        super().__init__(**kwargs)


@DATASETS.register_module()
class Potsdam3Dataset(CoarseDataset):
    """ISPRS Potsdam with the 3 classes of IIC, PiCIE and STEGO.

    The files hold 0 for pixels that count nowhere, as mmseg's converter writes them.

    Source: Ji et al., IIC, ICCV 2019 (github.com/mhamilton723/STEGO, src/data.py).
    """

    METAINFO = _metainfo(tuple(POTSDAM_CLASSES))
    coarse_ids = _coarse_ids(POTSDAM_CLASSES)
    defaults = dict(img_suffix='.png', seg_map_suffix='.png', reduce_zero_label=True)
