"""What files an output holds, so that lost, cut or changed ones are noticed."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MANIFEST = 'manifest.json'
# More files than this are known by their names and sizes alone: reading 1.2 million label maps
# again would take longer than writing them.
MOST_HASHED = 1000
LISTING = 'names and sizes'  # key of a summary; names of files have no such spaces in an output
BLOCK_BYTES = 2**20
# Logs go on after an output is finished.
GROWING = ('.log', '.jsonl')
# What later steps read. Other files may be deleted (earlier checkpoints) or written again (scores
# by mmseg's own test tool) without days of training being done anew for it.
READ_LATER = ('.npy', 'final.pth', 'threshold.json', 'images.txt')


def describe_files(directory: str | Path) -> dict[str, Any]:
    """Sizes and SHA-256 of an output's files, or a summary if they are more than MOST_HASHED.

    Args:
        directory: Of the output. Its manifest, logs and hidden files are left out.

    Returns:
        Relative paths to [bytes, SHA-256], or LISTING to [files, bytes, SHA-256 of the listing].
    """
    sizes = list(_sizes(Path(directory), most=MOST_HASHED))
    if len(sizes) <= MOST_HASHED:
        return {name: [size, hash_file(Path(directory, name))] for name, size in sorted(sizes)}
    return {LISTING: _summary(Path(directory))}


def find_unusable_files(directory: str | Path, described: Mapping[str, Any]) -> list[str]:
    """Files that later steps read and that are gone or of another size, a line each.

    Quick, for every start: sizes of MOST_HASHED files at most.

    Args:
        directory: Of the output.
        described: By `describe_files`. A summary is not checked, since that takes minutes.
    """
    needed = {
        name: facts
        for name, facts in described.items()
        if name.endswith(READ_LATER) and not name.startswith('evaluation/')
    }
    return _size_problems(Path(directory), needed)


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's content, read in blocks."""
    with open(path, 'rb') as file:
        digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()


def sizes_of(paths: Sequence[str | Path]) -> list[int | None]:
    """Bytes of files, None of those that are not there."""
    return [_size(Path(path)) for path in paths]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _size_problems(directory: Path, described: Mapping[str, Any]) -> list[str]:
    found = (_size_problem(directory / name, facts[0]) for name, facts in described.items())
    return [problem for problem in found if problem]


def _size_problem(path: Path, expected: int) -> str | None:
    found = _size(path)
    if found == expected:
        return None
    return f'{path}: ' + ('gone' if found is None else f'{found:,} of {expected:,} bytes')


def _sizes(directory: Path, most: int | None = None) -> Iterator[tuple[str, int]]:
    """Relative paths and sizes, folder by folder in order; one more than `most` at most."""
    count = 0
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(names):
            path = Path(folder, name)
            relative = path.relative_to(directory).as_posix()
            if name.startswith('.') or name.endswith(GROWING) or relative == MANIFEST:
                continue
            if 'vis_data' in path.parts:  # mmengine's curves, which are a log
                continue
            yield relative, path.stat().st_size
            count += 1
            if most is not None and count > most:
                return


def _summary(directory: Path) -> list[int | str]:
    count = total = 0
    listing = hashlib.sha256()
    for name, size in _sizes(directory):
        listing.update(os.fsencode(f'{name}\0{size}\n'))
        count += 1
        total += size
    return [count, total, listing.hexdigest()]
