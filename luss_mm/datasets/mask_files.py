"""Masks in files: our coding, those of others, and the way from these to ours."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from luss_mm.datasets.image_file import ImageFileError, decode_image, read_header, read_image_size
from luss_mm.datasets.image_walk import category_names, walk_images
from luss_mm.functional.label_codec import decode_label_map, encode_label_map
from luss_mm.work_dir.atomic_files import write_atomically

IGNORE_INDEX = 1000  # ImageNet-S's
# A label map of few colours is packed four times as fast if nothing is predicted from neighbours,
# into as many blocks of a disk. Older versions of OpenCV cannot choose it.
PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):
    PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def read_label_map(path: str | Path) -> np.ndarray:
    """Ids R + 256 G of an RGB PNG, int32. Shape (H, W).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an 8-bit RGB image or uses the blue channel.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such mask.')
    try:
        # The header first: it refuses a size for which OpenCV would take all the memory.
        image = decode_image(path, read_header(path).format, cv2.IMREAD_UNCHANGED)
    except ImageFileError:
        image = None
    if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = 'unreadable' if image is None else f'of shape {image.shape}, {image.dtype}'
        raise ValueError(
            f'{path}: {shape}; an ImageNet-S mask is an RGB PNG with id = R + '
            f'256 * G. Other codings: python tools/convert_masks.py {Path(path).parent}'
        )
    if image[..., 0].any():
        raise ValueError(
            f'{path}: its blue channel is not 0, so it is no ImageNet-S mask (id = R + 256 * G). '
            f'Other codings: python tools/convert_masks.py {Path(path).parent}'
        )
    return decode_label_map(image[..., ::-1])


def save_label_map(path: Path, labels: np.ndarray) -> None:
    """Write an ImageNet-S coded PNG.

    Raises:
        OSError: If it cannot be written.
    """
    encoded, png = cv2.imencode('.png', encode_label_map(labels)[..., ::-1], PNG_OPTIONS)
    if not encoded:
        raise OSError(f'{path}: OpenCV could not encode a label map of shape {labels.shape}')
    # Each on the disk by itself would take far longer; `FinishedShards` looks at the sizes.
    write_atomically(path, png.data, sync=False)


# Folders that hold masks rather than photographs, in lower case.
MASK_FOLDERS = frozenset(
    'mask masks label labels annotation annotations ann_dir segmentation segmentations '
    'segmentationclass segmentationobject gt ground_truth groundtruth gtfine '
    'validation-segmentation test-segmentation train-segmentation'.split()
)
# Other folders that may hold masks: `train_masks`, `labelsTr`; but photographs in `with_mask`.
MASK_WORDS = re.compile(
    r'(?i)(?:^|[_ -])(?:masks?|labels?|annotations?|segmentations?|gts?)(?:tr|ts)?(?:$|[_ -])'
)
# Masks of instances rather than of categories, which others have beside those.
INSTANCE_FOLDERS = frozenset({'segmentationobject'})
# Whole names, without suffix, that labelme gives masks beside `img.png`.
MASK_NAMES = frozenset({'label', 'label_viz', 'mask'})
# What names of masks have behind that of their photograph.
ENDING = re.compile(
    r'(?i)(?:_gtfine|_gtcoarse)?[_-](?:mask|masks|seg|segmentation|label|labels|gt|ann|'
    r'labelids|labeltrainids)$'
)
TRAIN_IDS = re.compile(r'(?i)trainids\.\w+$')
MOST_COLOURS = 256  # beyond: edges were blurred, or it is a photograph
LARGEST_ID = 1000  # of a mask in our coding, whose ignored pixels have it
IGNORED, IGNORED_16 = 255, 65535  # as one channel of 8 and of 16 bits has them
VOC_BORDER = (224, 224, 192)
COLOUR_NAMES = 'labelmap.txt'  # of CVAT, in the folder of the masks or beside it
LOSSY = ('.jpg', '.jpeg', '.jpe', '.jfif', '.webp')


class MaskError(ValueError):
    """A folder holds masks of which ours cannot be made."""


@dataclass(frozen=True)
class MaskCoding:
    """What the masks of a folder are.

    Attributes:
        name: 'ours', 'object', 'ids' or 'colours'.
        told: The same for people.
        ids: Our id of each value: of numbers, or of colours (R, G, B).
        masks: Number of masks that hold each value.
    """

    name: str
    told: str
    ids: Mapping[int | tuple[int, int, int], int]
    masks: Mapping[int | tuple[int, int, int], int] = field(default_factory=dict)

    def convert(self, path: str | Path) -> np.ndarray:
        """Ids of a mask, int32. Shape (H, W).

        Raises:
            MaskError: If it holds a value that the coding does not.
        """
        values = read_mask(path)
        if self.name == 'ours':
            return decode_label_map(values)
        if values.ndim == 3 and self.name == 'colours':
            values = _packed(values)
            table = {_packed_colour(colour): i for colour, i in self.ids.items()}
        else:
            values = values[..., 0] if values.ndim == 3 else values
            table = dict(self.ids)
        found, places = np.unique(values, return_inverse=True)
        if unknown := [value for value in found.tolist() if value not in table]:
            raise MaskError(f'{path}: has the value {unknown[0]}, which the other masks lack')
        ids = np.array([table[value] for value in found.tolist()], dtype=np.int32)
        return ids[places].reshape(values.shape)


def look_at_masks(folder: str | Path) -> MaskCoding:
    """Coding of all masks below a folder, each of which is read.

    Raises:
        FileNotFoundError: If there is none.
        MaskError: If they are no masks, of several codings, or cannot be read.
    """
    paths = [os.path.join(folder, relative) for relative in walk_images(folder)]
    if not paths:
        raise FileNotFoundError(f'{folder}: holds no mask.')
    if lossy := next((path for path in paths if path.lower().endswith(LOSSY)), None):
        raise MaskError(f'{lossy}: this format blurs masks. Save them as PNG where they were made.')
    numbers: Counter[int] = Counter()
    colours: Counter[tuple[int, int, int]] = Counter()
    is_deep = has_palette = False
    for path in paths:
        values = read_mask(path)
        if values.ndim == 2:
            is_deep |= values.dtype != np.uint8
            has_palette |= _has_palette(path)
            numbers.update(np.unique(values).tolist())
            continue
        colours.update(map(_unpacked_colour, np.unique(_packed(values)).tolist()))
        if len(colours) > MOST_COLOURS and not _is_ours(colours):
            raise MaskError(
                f'{path}: with it there are more than {MOST_COLOURS} colours, so these are '
                'photographs, or masks with blurred edges'
            )
    if numbers and colours:
        raise MaskError(f'{folder}: some masks are coloured and some have one channel. Sort them.')
    if colours and all(len(set(colour)) == 1 for colour in colours) and len(colours) > 1:
        numbers = Counter({colour[0]: count for colour, count in colours.items()})
        colours = Counter()
    if numbers:
        return _coding_of_numbers(numbers, is_deep, has_palette, paths)
    if listed := _listed_colours(Path(folder)):
        return _coding_of_listed(colours, *listed)
    return _coding_of_colours(colours)


def read_mask(path: str | Path) -> np.ndarray:
    """Values of a mask as they are stored: (H, W) of one channel or palette, (H, W, 3) of colours.

    Raises:
        MaskError: If it cannot be read.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ('1', 'P', 'L', 'I', 'I;16', 'I;16B'):
                values = np.asarray(image)
                return values.astype(np.uint8) if image.mode == '1' else values
            if image.mode == 'LA':
                return np.asarray(image)[..., 0]
            return np.asarray(image.convert('RGB'))
    except (OSError, SyntaxError, ValueError) as error:
        raise MaskError(f'{path}: not a readable mask ({error})') from error


def photograph_of(relative: str) -> str:
    """Relative path of a mask without its suffix, and without `_mask` and the like."""
    return ENDING.sub('', os.path.splitext(relative)[0])


def find_masks(folder: str | Path) -> tuple[str, int] | None:
    """Relative path of a mask among photographs, and how many there are; None without any.

    These are files in a folder called as MASK_FOLDERS, or as MASK_WORDS if its first file looks
    like a mask; files whose name is that of a photograph beside them with `_mask` or the like
    behind it; and MASK_NAMES beside a photograph `img`.
    """
    first, count, stems, ended = None, 0, set(), []
    known: dict[str, bool] = {}  # folders by relative path: do they hold masks?
    for relative in walk_images(folder):
        inside = os.path.dirname(relative)
        if inside not in known:
            known[inside] = _holds_masks(inside, os.path.join(folder, relative))
        if known[inside]:
            first, count = first or relative, count + 1
            continue
        stem = os.path.splitext(relative)[0]
        stems.add(stem)
        inside, _, name = stem.rpartition('/')
        if name in MASK_NAMES:
            ended.append((relative, f'{inside}/img'.lstrip('/')))
        elif photograph_of(relative) != stem:
            ended.append((relative, photograph_of(relative)))
    for relative, photograph in ended:
        if photograph in stems:
            first, count = first or relative, count + 1
    return (first, count) if first else None


def _holds_masks(relative: str, first: str) -> bool:
    names = relative.split('/')
    if MASK_FOLDERS & {name.lower() for name in names}:
        return True
    return any(map(MASK_WORDS.search, names)) and _looks_like_mask(first)


def _looks_like_mask(path: str) -> bool:
    """Whether an image has one channel, a palette or few colours."""
    try:
        values = read_mask(path)
    except MaskError:
        return False
    return values.ndim == 2 or len(np.unique(_packed(values))) <= MOST_COLOURS


def voc_colour(number: int) -> tuple[int, int, int]:
    """Colour of an id in the palette of PASCAL VOC: its bits, three a time, from the highest.

    Source: VOCdevkit, VOClabelcolormap.m.
    """
    colour = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            colour[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return tuple(colour)


def _coding_of_numbers(
    numbers: Counter[int], is_deep: bool, has_palette: bool, paths: list[str]
) -> MaskCoding:
    values = sorted(numbers)
    ignored = IGNORED_16 if is_deep else IGNORED
    if len(values) <= 2 and values[-1] > 1 and set(values) <= {0, values[-1]}:
        told = f'an object each: {values[-1]} is object, all else background'
        ids = {value: int(value > 0) for value in values}
        return MaskCoding('object', told, ids, numbers)
    ids = {value: IGNORE_INDEX if value == ignored else value for value in values}
    kind = 'a palette' if has_palette else f'one channel of {16 if is_deep else 8} bits'
    told = f'ids in {kind}: {_listed(v for v in values if v != ignored)}'
    if ignored in numbers:
        told += f'; {ignored} does not count'
    if any(TRAIN_IDS.search(path) for path in paths):
        told += '; trainIds by their names, so that 0 is a category and each id grows by one'
        ids = {v: i if i == IGNORE_INDEX else i + 1 for v, i in ids.items()}
    return MaskCoding('ids', told, ids, numbers)


def _coding_of_colours(colours: Counter[tuple[int, int, int]]) -> MaskCoding:
    others = set(colours) - {(0, 0, 0)}
    voc = {voc_colour(i): i for i in range(IGNORED + 1)} | {VOC_BORDER: IGNORE_INDEX}
    if others and others <= voc.keys() and all(max(colour) >= 64 for colour in others):
        # Only multiples of 64, as of VOC's first 64 ids: ours would begin with small numbers.
        if all(c % 64 in (0, 32) for colour in others for c in colour):
            ids = {colour: voc[colour] for colour in colours}
            found = _listed(sorted(i for i in ids.values() if i != IGNORE_INDEX))
            told = f'colours of the palette of PASCAL VOC: its ids {found}'
            told += '; its border does not count' if VOC_BORDER in colours else ''
            return MaskCoding('colours', told, ids, colours)
    if _is_ours(colours):
        ids = {colour: colour[0] + 256 * colour[1] for colour in colours}
        told = f'already ours, id = R + 256 * G: {_listed(sorted(ids.values()))}'
        return MaskCoding('ours', told, ids, colours)
    # Black is background; the others in their order, which no mask changes.
    ids = {colour: i for i, colour in enumerate(sorted(others), start=1)} | {(0, 0, 0): 0}
    told = f'{len(others)} colours beside black, which become the ids 1 to {len(others)} in order'
    return MaskCoding('colours', told, {c: ids[c] for c in sorted(colours)}, colours)


def _listed_colours(folder: Path) -> tuple[Path, dict[tuple[int, int, int], str]] | None:
    """CVAT's list of colours and what it names them, if it lies with the masks.

    Raises:
        MaskError: If a line of it is no name and colour.
    """
    places = (folder / COLOUR_NAMES, folder.parent / COLOUR_NAMES)
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return None
    names = {}
    for line in path.read_text(encoding='utf-8-sig').splitlines():
        if line.strip() and not line.startswith('#'):
            name, _, rest = line.partition(':')
            try:
                red, green, blue = map(int, rest.partition(':')[0].split(','))
            except ValueError as error:
                raise MaskError(f'{path}: {line!r} is not NAME:RED,GREEN,BLUE:...') from error
            names[red, green, blue] = name
    return path, names


def _coding_of_listed(
    colours: Counter[tuple[int, int, int]], path: Path, names: Mapping[tuple[int, int, int], str]
) -> MaskCoding:
    """Ids in the order of the list; black and what is called background are 0."""
    if unknown := sorted(set(colours) - set(names) - {(0, 0, 0)}):
        raise MaskError(f'{path}: lacks the colour {unknown[0]} of the masks. Add its line.')
    listed = [c for c, name in names.items() if name.lower() != 'background' and any(c)]
    ids = {colour: i for i, colour in enumerate(listed, start=1)}
    told = ', '.join(f'{i} {names[colour]}' for colour, i in ids.items())
    ids |= {colour: 0 for colour in colours if colour not in ids}
    return MaskCoding('colours', f'colours of {path}: {told}', ids, colours)


def _is_ours(colours: Mapping[tuple[int, int, int], int]) -> bool:
    return all(b == 0 and r + 256 * g <= LARGEST_ID for r, g, b in colours)


def _listed(values: Iterable[int]) -> str:
    values = list(values)
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f'{values[0]} to {values[-1]}'
    return ', '.join(map(str, values))


def _has_palette(path: str) -> bool:
    with Image.open(path) as image:
        return image.mode == 'P'


def _packed(values: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) as one number each (H, W)."""
    wide = values.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _packed_colour(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpacked_colour(packed: int) -> tuple[int, int, int]:
    return packed >> 16, packed >> 8 & 255, packed & 255


def convert_masks(
    folder: str | Path,
    images: str | Path,
    out: str | Path,
    coding: MaskCoding,
    zero_is_category: bool = False,
) -> int:
    """Write the masks of a folder in our coding, each named after its photograph.

    Object masks in category folders get the id of their folder, others 1.

    Args:
        folder: Masks, `<relative path of the photograph>` with `_mask` or the like behind it.
        images: Photographs.
        out: Folder that is not there yet, or is empty.
        coding: Coding from `look_at_masks`.
        zero_is_category: Adds 1 to each id, for masks without background.

    Returns:
        Number of masks.

    Raises:
        FileExistsError: If `out` holds something.
        MaskError: If a mask has no photograph, or another size than it. Nothing is written then.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f'{out}: is not empty. Name another folder.')
    pairs = _pair(Path(folder), Path(images))
    for mask, (photograph, _) in pairs.items():
        own, size = read_image_size(mask, stored_pixels=True), read_image_size(photograph)
        if own != size:
            raise MaskError(f'{mask}: is {own}, its photograph {photograph} {size} (height, width)')
    numbers = {}
    if coding.name == 'object':
        names = category_names([Path(images)])
        numbers = {name: i for i, name in enumerate(names, start=1)}
    for mask, (_, relative) in pairs.items():
        labels = coding.convert(mask)
        if own := numbers.get(relative.partition('/')[0]):
            labels = labels * own
        if zero_is_category:
            labels = np.where(labels == IGNORE_INDEX, labels, labels + 1)
        path = (out / relative).with_suffix('.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        save_label_map(path, labels)
    return len(pairs)


def _pair(folder: Path, images: Path) -> dict[Path, tuple[Path, str]]:
    """Each mask with its photograph, and the relative path of that."""
    photographs: dict[str, str] = {}
    for relative in walk_images(images):
        if not (images / relative).is_relative_to(folder):
            photographs.setdefault(str(Path(relative).with_suffix('')), relative)
    pairs = {}
    for relative in walk_images(folder):
        stem = str(Path(relative).with_suffix(''))
        found = photographs.get(photograph_of(relative), photographs.get(stem))
        if found is None:
            raise MaskError(
                f'{folder / relative}: no photograph {images / photograph_of(relative)}.* Name the '
                'folder whose relative paths are those of the masks'
            )
        pairs[folder / relative] = images / found, found
    return pairs
