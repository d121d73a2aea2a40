"""Which folders are categories, and which ids they have."""

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mmengine.logging import print_log

from luss_mm.datasets.image_walk import is_folder, is_hidden, is_image

CLASSES = 'classes.txt'
# Of a data set; their category folders together are its categories. Not ImageNet-S's `train-full`,
# which has categories of its own.
SPLITS = ('train', 'train-semi', 'validation', 'test')


def category_names(image_folders: Sequence[Path], data_root: str | Path = '') -> list[str]:
    """Names of the ids 1..K: those of `classes.txt`, else the sorted category folders.

    Category folders are those with an image in them or deeper, see `is_hidden` for what else does
    not count. Those of all splits are taken, so that an id does not depend on the split, except for
    splits with no category in common: their folders are of another kind, as years.
    `classes.txt` has a line with the name of a category folder for each id, and may have categories
    without images.

    Args:
        image_folders: Of one data set.
        data_root: With `classes.txt`; '' looks for it beside the splits alone.

    Raises:
        ValueError: If `classes.txt` has a line that is blank or repeated, or lacks a folder.
    """
    folders = {name for folder in image_folders for name in category_folders(folder)}
    roots = {folder.parent for folder in image_folders if folder.name in SPLITS}
    others = [set(category_folders(root / split)) for root in roots for split in SPLITS]
    while joined := [other for other in others if other & folders and not other <= folders]:
        folders = folders.union(*joined)
    classes = find_classes(image_folders, data_root)
    if classes is None:
        names = sorted(folders)
        if names != sorted(names, key=_as_numbers):
            _say_once(
                f'{image_folders[0]}: the ids follow the category folders as text '
                f'({", ".join(names[:3])} ... are the ids 1, 2, 3 ...), not as numbers. List the '
                f'folders in {CLASSES} in data_root for another order.'
            )
        return names
    names = _read_classes(classes)
    if lacking := sorted(folders - set(names)):
        raise ValueError(
            f'{classes}: lacks the category folders {", ".join(lacking[:5])}'
            f'{" ..." if len(lacking) > 5 else ""}. Add a line for each, or remove them.'
        )
    return names


def category_folders(split: Path) -> list[str]:
    """Sorted names of the folders right below one that hold an image, or may not be looked into."""
    if not split.is_dir():
        return []
    try:
        with os.scandir(split) as entries:
            return sorted(e.name for e in entries if _is_visible_folder(e) and _holds_image(e.path))
    except PermissionError:  # whoever lists the images says so
        return []


def find_classes(image_folders: Sequence[Path], data_root: str | Path = '') -> Path | None:
    """The file that decides the ids, in `data_root` or beside the splits; None without one."""
    roots = [Path(data_root)] if data_root else []
    roots += [folder.parent for folder in image_folders if folder.name in SPLITS]
    return next((path for root in roots if (path := root / CLASSES).is_file()), None)


def _is_visible_folder(entry: os.DirEntry) -> bool:
    return not is_hidden(entry.name) and is_folder(entry)


def _holds_image(folder: str, above: tuple[tuple[int, int], ...] = ()) -> bool:
    """Whether there is an image at any depth; stops at the first."""
    try:
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity in above:
            return False
        inner = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_visible_folder(entry):
                    inner.append(entry.path)
                elif is_image(entry.name):
                    return True
    except PermissionError:
        return True
    return any(_holds_image(path, (*above, identity)) for path in inner)


def _read_classes(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: is no UTF-8 text. Save it as UTF-8.') from error
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            problem = 'repeats an earlier line' if name else 'is blank'
            raise ValueError(f'{path}, line {number}: {problem}. Line i names the folder of id i.')
    return names


def _as_numbers(name: str) -> list[str | int]:
    """Sorts 2 before 10."""
    parts = re.split('([0-9]+)', name)  # text and digits in turn
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


@cache
def _say_once(line: str) -> None:
    print_log(line, 'current')
