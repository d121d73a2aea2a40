"""Masks of any known coding to ours, named after their photographs."""

from pathlib import Path

import numpy as np

from luss_mm.datasets.category_folders import category_names
from luss_mm.datasets.image_file import read_image_size
from luss_mm.datasets.image_walk import walk_images
from luss_mm.datasets.label_map_file import IGNORE_INDEX, save_label_map
from luss_mm.datasets.mask_coding import MaskCoding, MaskError, photograph_of


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
        coding: Of `look_at_masks`.
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
