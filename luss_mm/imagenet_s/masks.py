"""The annotation archives of ImageNet-S: fetched, looked through, unpacked."""

import os
import re
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from luss_mm.imagenet_s.link_or_copy import Placed, make_own_folder
from luss_mm.imagenet_s.lists import ListedImage
from luss_mm.imagenet_s.safe_archives import (
    MAX_TOTAL_BYTES,
    Member,
    list_members,
    partial_name,
    unpack,
)
from luss_mm.terminal import with_progress

# As in datapreparation/datapreparation_anno.sh of the official repository.
RELEASE = 'https://github.com/LUSSeg/ImageNet-S/releases/download/ImageNet-S/'
ARCHIVE_NAMES = {
    50: 'ImageNetS50-a0fe9d82231f9bc4787ee76e304dfa51.zip',
    300: 'ImageNetS300-dd8e42e156bac415a35c3c239de297bf.zip',
    919: 'ImageNetS919-5f7f58ae1003d21da9409a8576bf7680.zip',
}
_MASK = re.compile(r'(?:^|.*/)((?:train-semi|validation)-segmentation)/(n\d{8}/\w+\.png)', re.ASCII)
_SUBSET = re.compile(r'ImageNetS(50|300|919)(?!\d)')
_BLOCK = 2**20
_TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class MaskArchive:
    """An archive that was looked through.

    Attributes:
        path: Of the file.
        masks: Members by (subset, `<split>-segmentation/<wnid>/<name>.png`).
    """

    path: Path
    masks: dict[tuple[int, str], Member]


def look_through(path: str | Path) -> MaskArchive:
    """Find the masks of an annotation archive, and whose they are.

    Each subset has its own ids, so a mask only counts if a folder `ImageNetS<subset>` holds it or,
    where there is none, if the archive's own name begins so.

    Raises:
        FileNotFoundError, ArchiveError: As `list_members`.
        ValueError: If the subset cannot be told.
    """
    path = Path(path)
    masks = {}
    for member in list_members(path):
        match = _MASK.fullmatch(member.name)
        if match is None or '__MACOSX' in member.name:
            continue
        subset = _SUBSET.search(member.name) or _SUBSET.search(path.name)
        if subset is None:
            raise ValueError(
                f"{path}: neither its name nor its folders tell the subset, and a subset's ids "
                "differ from the others'. Rename it to ImageNetS50.zip (or 300, 919)."
            )
        masks[int(subset[1]), f'{match[1]}/{match[2]}'] = member
    return MaskArchive(path, masks)


def unpack_masks(
    archives: Iterable[MaskArchive],
    subset: int,
    folder: str,
    images: list[ListedImage],
    directory: Path,
) -> Placed:
    """Unpack the masks of listed images that are not there yet.

    Args:
        archives: Where to look for them; the first that has a mask gives it.
        subset: 50, 300 or 919.
        folder: `<split>-segmentation`, as in the archives.
        images: Of the split.
        directory: Where `<wnid>/<name>.png` goes.

    Returns:
        Counts; `missing` are relative paths that no archive has, `foreign` are files that differ
        in size from the archive's.
    """
    archives = list(archives)
    placed = Placed()
    wanted: dict[Path, dict[str, Path]] = {archive.path: {} for archive in archives}
    for image in images:
        target = directory / image.mask
        key = (subset, f'{folder}/{image.mask}')
        archive = next((a for a in archives if key in a.masks), None)
        if os.path.lexists(target):
            same = archive is None or _has_size(target, archive.masks[key].size)
            placed.kept += same
            placed.foreign += [] if same else [str(target)]
        elif archive is None:
            placed.missing.append(image.mask)
        elif not make_own_folder(str(target.parent)):
            placed.foreign.append(str(target))
        else:
            wanted[archive.path][archive.masks[key].name] = target
    for path, targets in wanted.items():
        if targets:
            for _ in with_progress(unpack(path, targets), len(targets), f'{subset} {folder}'):
                placed.made += 1
    return placed


def download(subset: int, directory: Path) -> Path:
    """Fetch the official archive of a subset, unless it is there.

    Raises:
        OSError: If it cannot be reached or ends early.
        ValueError: If it is larger than an archive may be.
    """
    path = directory / ARCHIVE_NAMES[subset]
    if path.exists():
        return path
    address = RELEASE + path.name
    directory.mkdir(parents=True, exist_ok=True)
    temporary = partial_name(path)
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
            size = int(response.headers.get('Content-Length') or 0)
            if size > MAX_TOTAL_BYTES:
                raise ValueError(f'{address}: {size:,} bytes are more than an archive may have')
            with open(temporary, 'wb') as file:
                blocks = iter(lambda: response.read(_BLOCK), b'')
                for block in with_progress(blocks, -(-size // _BLOCK), f'{path.name}, MiB'):
                    file.write(block)
                    if file.tell() > MAX_TOTAL_BYTES:
                        raise ValueError(f'{address}: more bytes than an archive may have')
                written = file.tell()
        if size and written != size:
            raise OSError(f'ended after {written:,} of {size:,} bytes')
        os.rename(temporary, path)
    except OSError as error:
        raise OSError(
            f'{address}: {error}. Fetch it by another way and give it as --annotations FILE.'
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
