"""The images of a folder, and which of its folders are categories."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = (
    *('.jpeg', '.jpg', '.jpe', '.jfif', '.mpo', '.png', '.bmp', '.webp', '.gif', '.tif', '.tiff'),
    *('.avif', '.heic', '.heif', '.hif', '.jp2', '.ppm', '.pgm'),
)
# Folders that programs leave among images, besides those whose names start with a dot.
LEFT_BY_PROGRAMS = ('__MACOSX', '@eaDir', '#recycle', '$RECYCLE.BIN', 'lost+found')
Stamp = tuple[int, int]


def walk_images(
    folder: str | Path,
    folders: list[str] | None = None,
    stamps: list[Stamp] | None = None,
    others: Counter[str] | None = None,
) -> Iterator[str]:
    """Sorted relative paths of all images below a folder.

    What lies below a folder is sorted where '<name>/' is, since all of it begins so. Hence no more
    than the names of the folders on the way are in memory. Links to folders are followed, but not
    back to a folder that they lie in. A folder that may not be read counts as one bad image, whose
    path ends with a '/'. Hidden names are left out, see `is_hidden`.

    Args:
        folder: To look into.
        folders: Gets the relative path of every folder that was looked into, '' or with a '/' at
            the end, if it is given.
        stamps: Gets the stamp of each, taken before it was looked into, if it is given.
        others: Counts the suffixes of files that are passed over, if it is given.

    Raises:
        PermissionError: If the folder itself may not be read.
    """
    pending = ['']
    above: dict[str, frozenset] = {'': frozenset()}  # identities of the folders that it lies in
    while pending:
        relative = pending.pop()
        if relative and not relative.endswith('/'):
            yield relative
            continue
        lineage = above.pop(relative)
        try:
            status = os.stat(os.path.join(folder, relative))
            identity = status.st_dev, status.st_ino
            if identity in lineage:
                continue
            inner = sorted(_children(folder, relative, others), reverse=True)
        except PermissionError:
            if not relative:
                raise unread_folder(folder) from None
            yield relative
            continue
        if folders is not None:
            folders.append(relative)
        if stamps is not None:
            stamps.append(stamp_of(status))
        above |= {name: lineage | {identity} for name in inner if name.endswith('/')}
        pending += inner


def _children(folder: str | Path, relative: str, others: Counter[str] | None) -> Iterator[str]:
    """Relative paths of images, and with a '/' at the end of folders, right below a folder."""
    with os.scandir(os.path.join(folder, relative)) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if is_folder(entry):
                yield f'{relative}{entry.name}/'
            elif is_image(entry.name):
                yield f'{relative}{entry.name}'
            elif others is not None:
                others[os.path.splitext(entry.name)[1].lower() or entry.name] += 1


def label_map_name(image: str, sharing: Container[str] = (), suffix: str = '.png') -> str:
    """Path of what is made of an image: `ant/1.png` of `ant/1.jpg`, in whatever folder it lies.

    Args:
        image: Relative path.
        sharing: Shared paths from `find_sharing`; these keep their suffix: `ant/1.jpg.png` of
            `ant/1.jpg`.
        suffix: Suffix of the result.
    """
    return f'{image if image in sharing else os.path.splitext(image)[0]}{suffix}'


def find_sharing(images: Callable[[], Iterable[str]]) -> frozenset[str]:
    """Images that differ from another one in nothing but the suffix.

    Args:
        images: Gives their relative paths, any number of times. Only hashes of all are held.

    Returns:
        Their paths, and those of images whose label map would have the name of one of theirs.
    """
    hashes = np.fromiter((hash(os.path.splitext(image)[0]) for image in images()), np.int64)
    unique, counts = np.unique(hashes, return_counts=True)
    repeated = set(unique[counts > 1].tolist())
    if not repeated:
        return frozenset()
    groups = defaultdict(set)
    for image in images():
        if hash(stem := os.path.splitext(image)[0]) in repeated:
            groups[stem].add(image)
    found = {image for group in groups.values() if len(group) > 1 for image in group}
    while more := {i for i in images() if os.path.splitext(i)[0] in found} - found:
        found |= more  # `1.jpg.jpg` beside `1.jpg` and `1.png`
    return frozenset(found)


def sharing_in(folder: str | Path) -> frozenset[str]:
    """Names of the images right below a folder that share a stem, see `find_sharing`.

    None where there is no such folder, as of images that lie in an archive.
    """
    if not os.path.isdir(folder):
        return frozenset()
    return _sharing_in(str(folder), stamp_of(os.stat(folder)))


@lru_cache(maxsize=8)
def _sharing_in(folder: str, stamp: Stamp) -> frozenset[str]:
    return find_sharing(lambda: _children(folder, '', None))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is no part of the data: `.Trash`, `._a.jpg`, `@eaDir`, say."""
    return name.startswith('.') or name in LEFT_BY_PROGRAMS


def is_image(name: str) -> bool:
    """Whether a name has the suffix of an image format."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def unread_folder(folder: str | Path) -> PermissionError:
    """What to raise if the folder that somebody names may not be read."""
    return PermissionError(
        f'{folder}: may not be read. Change its permissions, or name another folder.'
    )


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, or may lead to one that may not be looked at."""
    try:
        return entry.is_dir()
    except PermissionError:  # a link into a folder that may not be read
        return not is_image(entry.name)
    except OSError:  # a link to itself
        return False


def stamp_of(status: os.stat_result) -> Stamp:
    """What a folder is known by: inode and time of change in ns, each below 2^64.

    Not its device, whose number differs between machines that share a disk.
    """
    return status.st_ino % 2**64, status.st_mtime_ns % 2**64


def size_of(path: str) -> int:
    """Bytes of a file, or -1 for a link to nowhere or to itself, a bad image."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


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
        image_folders: Image folders of one data set.
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
    from mmengine.logging import print_log  # imports torch, which a walk does not need

    print_log(line, 'current')
