"""Files of one folder tree put into another by link, hard link or copy.

Nothing is ever overwritten: a file that is already there is either what was to be placed (the same
file, or one of the same size) or it is reported. A copy gets its name when it is whole.
"""

import errno
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from luss_mm.imagenet_s.safe_archives import partial_name

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
    temporary = partial_name(target)
    try:
        shutil.copyfile(source, temporary)
        os.rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
