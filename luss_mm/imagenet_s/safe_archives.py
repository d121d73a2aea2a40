"""Zip and tar files from elsewhere: looked through before anything is unpacked.

Every member must be a plain file or folder below the archive's root, of bounded size. Files are
unpacked to paths that the caller gives, never to the names that the archive gives, each under a
temporary name that becomes final when the file is whole.
"""

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

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


def partial_name(target: str | Path) -> Path:
    """Temporary name of a file that is being written; no suffix that a data set would read."""
    target = Path(target)
    return target.with_name(f'.{target.name}.partial')


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
    temporary = partial_name(target)
    try:
        with open(temporary, 'wb') as file:
            shutil.copyfileobj(content, file)  # both formats stop at the size of the header
            if file.tell() != size:
                raise EOFError(f'{file.tell():,} of {size:,} bytes')
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
