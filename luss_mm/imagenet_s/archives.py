"""Files put in their place: linked, copied, or unpacked without trust in the archive."""

import errno
import lzma
import os
import re
import shutil
import stat
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from luss_mm.imagenet_s.lists import ListedImage
from luss_mm.terminal import with_progress

MAX_MEMBERS = 1_000_000
MAX_FILE_BYTES = 64 * 2**20  # an uncompressed RGB mask of 22 million pixels
MAX_TOTAL_BYTES = 64 * 2**30
MAX_TAIL_BYTES = 16 * 2**20  # behind the end of a tar, where only padding belongs
LARGEST_OFFSET = 2**63 - 1  # that a file can be sought at
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    UnicodeDecodeError,  # a name in a zip
    NotImplementedError,  # a compression that zipfile does not know
)


class ArchiveError(ValueError):
    """An archive that is broken or holds what it must not."""


@dataclass(frozen=True, slots=True)
class Member:
    """A plain file in an archive: its name with '/' between the parts, and its size in bytes."""

    name: str
    size: int


def list_members(path: str | Path) -> list[Member]:
    """Plain files of a zip or tar (also compressed) archive, in its order.

    Raises:
        FileNotFoundError: If there is no such file.
        ArchiveError: If it is damaged, encrypted or too large, or if any member is a link or a
            device, lies outside the archive's root or is there twice.
    """
    path = Path(path)
    members: dict[str, Member] = {}
    total = 0
    with _opened(path) as archive:
        for count, (name, size, kind, _) in enumerate(_headers(archive), start=1):
            problem = _problem(name, size, kind)
            total += size
            if problem is None and name in members:
                problem = 'is there twice'
            if problem is None and (count > MAX_MEMBERS or total > MAX_TOTAL_BYTES):
                problem = f'goes over {MAX_MEMBERS:,} files or {MAX_TOTAL_BYTES:,} bytes'
            if problem is not None:
                raise ArchiveError(
                    f'{path}: {name!r} {problem}. Nothing was unpacked: take the official archive.'
                )
            if kind == 'file':
                members[name] = Member(name, size)
        if isinstance(archive, tarfile.TarFile):
            _read_to_the_end(archive, path)
    return list(members.values())


def unpack(path: str | Path, targets: Mapping[str, str | Path]) -> Iterator[Path]:
    """Unpack chosen files one after another; an iterator over those that are in place.

    Args:
        path: Archive that `list_members` has passed.
        targets: Where each member goes, by its name. Existing files are replaced.

    Raises:
        ArchiveError: If the archive is damaged; what was unpacked so far is whole.
    """
    path = Path(path)
    with _opened(path) as archive:
        for name, size, kind, header in _headers(archive):
            if kind == 'file' and name in targets:
                target = Path(targets[name])
                is_tar = isinstance(archive, tarfile.TarFile)
                with (
                    damage_named(f'{path}: {name!r}'),
                    archive.extractfile(header) if is_tar else archive.open(header) as content,
                ):
                    _write(content, size, target)
                yield target


@contextmanager
def completed(target: str | Path) -> Iterator[Path]:
    """A hidden path that gets the target's name when the context ends without an error.

    It is always the same one, so that what a kill leaves is written over.
    """
    target = Path(target)
    temporary = target.with_name(f'.{target.name}.partial')
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such archive.')
    with damage_named(path):
        archive = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else tarfile.open(path)
    with archive:
        yield archive


def _headers(
    archive: zipfile.ZipFile | tarfile.TarFile,
) -> Iterator[tuple[str, int, str, zipfile.ZipInfo | tarfile.TarInfo]]:
    """Name, size, kind ('file', 'folder' or what is wrong) and header of every member."""
    if isinstance(archive, zipfile.ZipFile):
        for info in archive.infolist():
            # orig_filename: zipfile itself cuts the name at a NUL
            yield info.orig_filename, info.file_size, _zip_kind(info), info
        return
    with damage_named(archive.name):
        for info in archive:
            kind = 'file' if info.isreg() else 'folder' if info.isdir() else 'is a link or a device'
            yield info.name, info.size, kind, info


def _read_to_the_end(archive: tarfile.TarFile, path: Path) -> None:
    """A compressed tar has its checksum there, behind what tarfile looks at."""
    with damage_named(path):
        tail = archive.fileobj.read(MAX_TAIL_BYTES + 1)
    if len(tail) > MAX_TAIL_BYTES:
        raise ArchiveError(f'{path}: more than {MAX_TAIL_BYTES:,} bytes follow its end.')


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x1:
        return 'is encrypted'
    if not 0 <= info.header_offset < LARGEST_OFFSET:
        return 'is not where the directory says'
    if info.orig_filename.endswith('/'):  # is_dir looks at a last character in Python 3.11
        return 'folder'
    mode = stat.S_IFMT(info.external_attr >> 16)
    return 'file' if mode in (0, stat.S_IFREG) else 'is a link or a device'


def _problem(name: str, size: int, kind: str) -> str | None:
    if kind not in ('file', 'folder'):
        return kind
    if not name or '\\' in name or '\0' in name or ':' in name.partition('/')[0]:
        return 'has a name with characters that are unsafe'
    if name.startswith('/') or '..' in PurePosixPath(name).parts:
        return "leads out of the archive's folder"
    if size > MAX_FILE_BYTES:
        return f'has {size:,} bytes, more than the {MAX_FILE_BYTES:,} that are allowed'
    return None


def _write(content: BinaryIO, size: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with completed(target) as temporary, open(temporary, 'wb') as file:
        shutil.copyfileobj(content, file)  # both formats stop at the size of the header
        if file.tell() != size:
            raise EOFError(f'{file.tell():,} of {size:,} bytes')


@contextmanager
def damage_named(name: str | Path) -> Iterator[None]:
    """Name what is being read if its bytes are damaged.

    Raises:
        ArchiveError: For what zipfile, tarfile and their decompressors raise.
    """
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; what gzip and bz2 raise has no number
        raise ArchiveError(
            f'{name} is damaged or no zip or tar archive ({error}). Fetch it again.'
        ) from error


MODES = ('link', 'hardlink', 'copy')


@dataclass(frozen=True, slots=True)
class Placement:
    """An absolute path and the relative path, with '/' between parts, that it is to have."""

    source: str
    target: str


@dataclass
class Placed:
    """What became of placements.

    Attributes:
        made: How many were made now.
        kept: How many were there already.
        missing: Sources that are not there.
        foreign: Targets that are something else than what was to be placed.
    """

    made: int = 0
    kept: int = 0
    missing: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def link_or_copy(placements: Iterable[Placement], directory: str | Path, mode: str) -> Placed:
    """Place files, or in mode 'link' also whole folders, below a directory.

    Args:
        placements: What goes where; may be a generator of millions.
        directory: Root of the targets.
        mode: 'link' (symbolic), 'hardlink' or 'copy'.

    Raises:
        ValueError: If there is no such mode or if hard links would cross file systems.
    """
    if mode not in MODES:
        raise ValueError(f'mode {mode!r}: must be one of {", ".join(MODES)}')
    make = dict(link=os.symlink, hardlink=_hard_link, copy=_copy)[mode]
    placed, own_folders = Placed(), {}
    for placement in placements:
        target = os.path.join(directory, placement.target)
        state = _state(placement.source, target)
        if state == 'absent':
            folder = os.path.dirname(target)
            if folder not in own_folders:
                own_folders[folder] = make_own_folder(folder)
            state = 'absent' if own_folders[folder] else 'foreign'
        if state == 'kept':
            placed.kept += 1
        elif state == 'foreign':
            placed.foreign.append(target)
        elif not os.path.exists(placement.source):
            placed.missing.append(placement.source)
        else:
            make(placement.source, target)
            placed.made += 1
    return placed


def _state(source: str, target: str) -> str:
    """'absent', 'kept' (what was to be placed is there) or 'foreign'."""
    if not os.path.lexists(target):
        return 'absent'
    if not os.path.exists(target):  # a link that leads nowhere
        return 'foreign'
    if not os.path.exists(source):  # a copy outlives its source
        return 'kept'
    there, origin = os.stat(target), os.stat(source)
    if os.path.samestat(there, origin):
        return 'kept'
    both_files = os.path.isfile(target) and os.path.isfile(source)
    return 'kept' if both_files and there.st_size == origin.st_size else 'foreign'


def make_own_folder(folder: str) -> bool:
    """Whether files can be placed there; through a link they would land in somebody's data."""
    if os.path.islink(folder):
        return False
    os.makedirs(folder, exist_ok=True)
    return True


def _hard_link(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise ValueError(
            f'{target}: hard links do not reach from one file system ({source}) into another. '
            'Use --mode link or copy.'
        ) from error


def _copy(source: str, target: str) -> None:
    with completed(target) as temporary:
        shutil.copyfile(source, temporary)


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
        path: Path of the file.
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
        images: Images of the split.
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
    try:
        with (
            urllib.request.urlopen(address, timeout=_TIMEOUT) as response,
            completed(path) as temporary,
            open(temporary, 'wb') as file,
        ):
            size = int(response.headers.get('Content-Length') or 0)
            if size > MAX_TOTAL_BYTES:
                raise ValueError(f'{address}: {size:,} bytes are more than an archive may have')
            blocks = iter(lambda: response.read(_BLOCK), b'')
            for block in with_progress(blocks, -(-size // _BLOCK), f'{path.name}, MiB'):
                file.write(block)
                if file.tell() > MAX_TOTAL_BYTES:
                    raise ValueError(f'{address}: more bytes than an archive may have')
            if size and file.tell() != size:
                raise OSError(f'ended after {file.tell():,} of {size:,} bytes')
    except OSError as error:
        raise OSError(
            f'{address}: {error}. Fetch it by another way and give it as --annotations FILE.'
        ) from error
    return path


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
