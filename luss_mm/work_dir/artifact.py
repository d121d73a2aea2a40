"""The one owner of "is it finished?": outputs that are complete, named by what made them.

`produce` gives a directory the plain name it was asked for, with a manifest of inputs and settings.
If a finished output of that name was made from something else, it is kept beside the new one under
`<name>.<key>`, and comes back as soon as its settings do (other rules: `on_change`). Work
in progress is `<name>.partial-<key>`.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import mmengine
import numpy as np
import torch
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.logging import print_log

from luss_mm.packaged_weights import checkpoint_file
from luss_mm.version import __version__
from luss_mm.work_dir import ON_CHANGE
from luss_mm.work_dir.atomic_files import remove_leftovers, write_json
from luss_mm.work_dir.manifest import MANIFEST, artifact_key, jsonable, read_manifest
from luss_mm.work_dir.stop_request import stop_if_asked

Result = TypeVar('Result')
SHOWN = 5  # differences in a message of one line
_rule: ContextVar[str] = ContextVar('on_change', default='redo')


class ChangedOutputError(ValueError):
    """An output was made or begun with other settings, and the rule is to stop.

    Args:
        output: Its path.
        how: 'made' or 'begun', and with what.
        changes: What differs, see `explain_difference`.
        fixes: What can be done besides going back to what it was.
    """

    def __init__(self, output: Path, how: str, changes: list[str], fixes: str) -> None:
        more = f'; {len(changes) - SHOWN} more' if len(changes) > SHOWN else ''
        listed = f' ({"; ".join(changes[:SHOWN])}{more})' if changes else ''
        super().__init__(f'{output} was {how}{listed}. {fixes}')


@contextmanager
def on_change(rule: str) -> Iterator[None]:
    """Decide for all outputs that are asked for in this context.

    Args:
        rule: 'redo' makes again what a change touches and keeps the old output beside it; 'keep'
            goes on with finished outputs as they are; 'stop' raises `ChangedOutputError` before
            anything is done.

    Raises:
        ValueError: If there is no such rule.
    """
    if rule not in ON_CHANGE:
        raise ValueError(f'on_change is one of {", ".join(ON_CHANGE)}, not {rule!r}')
    token = _rule.set(rule)
    try:
        yield
    finally:
        _rule.reset(token)


def rule_on_change() -> str:
    """The rule of this context."""
    return _rule.get()


def explain_difference(old: Any, new: Any, name: str = '') -> list[str]:
    """What differs between two nested settings, a line `key: old -> new` each."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted({*old, *new}):
            inner = f'{name}.{key}' if name else str(key)
            lines += explain_difference(old.get(key), new.get(key), inner)
        return lines
    return [] if old == new else [f'{name}: {_short(old)} -> {_short(new)}']


def _short(value: Any) -> str:
    text = 'nothing' if value is None else str(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


# More files than this are known by their names and sizes alone: reading 1.2 million label maps
# again would take longer than writing them.
MOST_HASHED = 1000
LISTING = 'names and sizes'  # key of a summary; names of files have no such spaces in an output
BLOCK_BYTES = 2**20
# Logs go on after an output is finished.
GROWING = ('.log', '.jsonl')
# What later steps read. Other files may be deleted (earlier checkpoints) or written again (scores
# by mmseg's own test tool) without days of training being done again for it.
READ_LATER = ('.npy', 'final.pth', 'threshold.json', 'images.txt')


def describe_files(directory: str | Path) -> dict[str, Any]:
    """Sizes and SHA-256 of an output's files, or a summary if they are more than MOST_HASHED.

    Args:
        directory: Directory of the output. Its manifest, logs and hidden files are left out.

    Returns:
        Relative paths to [bytes, SHA-256], or LISTING to [files, bytes, SHA-256 of the listing].
    """
    sizes = list(islice(_sizes(Path(directory)), MOST_HASHED + 1))
    if len(sizes) <= MOST_HASHED:
        return {name: [size, hash_file(Path(directory, name))] for name, size in sorted(sizes)}
    return {LISTING: _summary(Path(directory))}


def find_unusable_files(directory: str | Path, described: Mapping[str, Any]) -> list[str]:
    """Files that later steps read and that are gone or of another size, a line each.

    Quick, for every start: sizes of MOST_HASHED files at most.

    Args:
        directory: Directory of the output.
        described: By `describe_files`. A summary is not checked, since that takes minutes.
    """
    problems = []
    for name, facts in described.items():
        path = Path(directory, name)
        is_read = name.endswith(READ_LATER) and not name.startswith('evaluation/')
        if is_read and (found := _size(path)) != facts[0]:
            told = 'gone' if found is None else f'{found:,} of {facts[0]:,} bytes'
            problems.append(f'{path}: {told}')
    return problems


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


def _sizes(directory: Path) -> Iterator[tuple[str, int]]:
    """Relative paths and sizes, folder by folder in order."""
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


def _summary(directory: Path) -> list[int | str]:
    count = total = 0
    listing = hashlib.sha256()
    for name, size in _sizes(directory):
        listing.update(os.fsencode(f'{name}\0{size}\n'))
        count += 1
        total += size
    return [count, total, listing.hexdigest()]


RECIPE = '.recipe.json'  # of an output that is not finished


def produce(
    directory: str | Path,
    make: Callable[[Path], None],
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    seed: int | None = None,
    used_ground_truth: tuple[str, ...] = (),
    used_sam: bool = False,
) -> Path:
    """Return a finished output, making it if there is none with these inputs and settings.

    Collective: all ranks call it, all ranks run `make`, rank 0 alone decides and renames.

    Args:
        directory: Where the finished output lies.
        make: Fills the directory that it is given. After an interruption it is called again with
            the same directory and what was left in it, so it should keep finished pieces.
        inputs: What the output is made from: names to keys of other artifacts or fingerprints.
        settings: What else decides the output's content. JSON-like.
        seed: Seed of the run.
        used_ground_truth: What labels were looked at and for what, a line each.
        used_sam: Whether SAM, which human masks trained, took part.

    Returns:
        The directory.
    """
    directory = Path(directory)
    recipe = jsonable(dict(inputs=inputs, settings=settings, seed=seed))
    key = artifact_key(recipe)
    partial = directory.with_name(f'{directory.name}.partial-{key}')

    def take_finished() -> bool:
        if _take_finished(directory, recipe, key):
            return True
        if not partial.exists():
            _notice_begun(directory, recipe)
        remove_leftovers(partial)  # before any rank writes there
        write_json(partial / RECIPE, recipe)
        return False

    if decide_on_main(take_finished):
        return directory
    started = time.time()
    partial.mkdir(parents=True, exist_ok=True)
    make(partial)
    barrier()
    if is_main_process():
        manifest = dict(
            key=key,
            **recipe,
            used_ground_truth=list(used_ground_truth),
            used_sam=used_sam,
            seconds=round(time.time() - started, 1),
            finished=time.strftime('%Y-%m-%d %H:%M:%S'),
            versions=installed_versions(),
            files=describe_files(partial),
        )
        (partial / RECIPE).unlink()  # the manifest says more
        write_json(partial / MANIFEST, manifest, indent=2)
        _set_aside(directory)
        os.rename(partial, directory)
        _sync_directory(directory.parent)
    barrier()
    return directory


class FinishedShards:
    """The finished pieces of an output that is being made; `shard in finished` asks for one.

    A piece is finished if it is on record and its files have the sizes that the record tells.
    Label maps and pictures are not forced to the disk one by one, which would take far longer, so
    a machine that loses power may leave empty ones behind; records are.

    Args:
        directory: Directory of the output; the records lie in its folder `.finished-shards`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __contains__(self, shard: object) -> bool:
        try:
            record = json.loads(self._path(shard).read_text())
            sizes = record['files']
        except (FileNotFoundError, ValueError, KeyError):  # also of another version of luss_mm
            return False
        return sizes_of([self.directory / name for name in sizes]) == list(sizes.values())

    def add(self, shard: int | str, files: Iterable[Path] = (), content: Any = None) -> None:
        """Record a piece as finished, then end the run if it was asked to stop.

        Args:
            shard: Number or name of the piece.
            files: All that were written of it, below the output's directory.
            content: What else belongs to the piece, for `content`. JSON-like.

        Raises:
            FileNotFoundError: If a file is not there.
            SystemExit: See `stop_if_asked`.
        """
        sizes = {f.relative_to(self.directory).as_posix(): f.stat().st_size for f in files}
        write_json(self._path(shard), dict(files=sizes, content=content))
        stop_if_asked(f'the finished pieces of {self.directory.name} are kept')

    def content(self, shard: int | str) -> Any:
        """What `add` was given of a finished piece besides its files."""
        return json.loads(self._path(shard).read_text())['content']

    def remove(self, shard: int | str) -> None:
        """Delete a piece that another one holds now; nothing happens if it is gone already."""
        record = self._path(shard)
        if not record.exists():
            return
        for name in json.loads(record.read_text())['files']:
            (self.directory / name).unlink(missing_ok=True)
        record.unlink()  # the last: a kill leaves no file that nobody knows

    def _path(self, shard: object) -> Path:
        return self.directory / '.finished-shards' / f'{shard}.json'


def fingerprint_file(path: str | Path) -> str:
    """SHA-256 of a file's content, read in blocks; `package:name` is the file of that package."""
    return hash_file(checkpoint_file(path))


def _take_finished(directory: Path, recipe: dict, key: str) -> bool:
    """Whether the finished output of this key now has the plain name."""
    if (directory / MANIFEST).is_file():
        manifest = read_manifest(directory)
        if manifest['key'] == key:
            return _is_undamaged(directory, manifest)
        old = {name: manifest.get(name) for name in recipe}
        changes = explain_difference(old, recipe)
        if rule_on_change() == 'keep':
            made = f'{directory} was made with other inputs or settings'
            _tell(f'{made} and is kept as it is (on_change=keep)', changes)
            return _is_undamaged(directory, manifest)
        if rule_on_change() == 'stop' and not (_earlier(directory, key) / MANIFEST).is_file():
            raise ChangedOutputError(
                directory,
                'made with other inputs or settings',
                changes,
                'Change them back, set on_change=keep to go on with it as it is, or on_change=redo '
                'to keep it aside and make another.',
            )
        kept = f'it is kept as {directory.name}.{manifest["key"]}'
        _tell(f'{directory} was made with other inputs or settings; {kept}', changes)
        _set_aside(directory)
    return take_up(directory, key)


def _notice_begun(directory: Path, recipe: dict) -> None:
    """Say that what was begun with other settings is not gone on with, or stop."""
    for other in sorted(directory.parent.glob(f'{directory.name}.partial-*')):
        recorded = other / RECIPE
        old = json.loads(recorded.read_text()) if recorded.is_file() else recipe
        changes = explain_difference(old, recipe)
        if rule_on_change() == 'stop':
            raise ChangedOutputError(
                other,
                'begun with other inputs or settings',
                changes,
                'Change them back, or set on_change=redo to begin again and keep it.',
            )
        _tell(f'{other} was begun with other inputs or settings and stays there', changes)


def _tell(what: str, changes: list[str]) -> None:
    listed = '\n  '.join(changes)
    print_log(f'{what}. Changed (old -> new):\n  {listed}', logger='current')


def _is_undamaged(directory: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether all files are there; if not, the output is set aside."""
    if changes := explain_difference(manifest.get('versions'), installed_versions()):
        if rule_on_change() == 'stop':
            raise ChangedOutputError(
                directory,
                'made by other versions',
                changes,
                'Set on_change=keep to go on with it, or delete it to have it made again.',
            )
        print_log(
            f'{directory} was made by other versions ({", ".join(changes)}) and is kept; delete it '
            'to have it made again.',
            logger='current',
        )
    problems = find_unusable_files(directory, manifest.get('files', {}))
    if not problems:
        return True
    aside = directory.with_name(f'{directory.name}.damaged-{time.strftime("%Y%m%d-%H%M%S")}')
    os.rename(directory, aside)
    print_log(
        f'{directory} is damaged and made again; what is left of it is kept as {aside.name}:\n  '
        + '\n  '.join(problems),
        logger='current',
    )
    return False


def take_up(directory: Path, key: str) -> bool:
    """Give the plain name back to the finished output of a key, on one rank.

    Args:
        directory: The plain name.
        key: Key of the wanted output.

    Returns:
        Whether there is such an output; if not, nothing was changed.
    """
    if (directory / MANIFEST).is_file() and read_manifest(directory)['key'] == key:
        return True
    earlier = _earlier(directory, key)
    if not (earlier / MANIFEST).is_file():
        return False
    _set_aside(directory)
    os.rename(earlier, directory)
    print_log(f'{directory}: taken up again from {earlier.name}', logger='current')
    return True


def _earlier(directory: Path, key: str) -> Path:
    """Where a finished output of a key lies that does not have the plain name."""
    return directory.with_name(f'{directory.name}.{key}')


def _set_aside(directory: Path) -> None:
    """Free the plain name without losing what lies there."""
    if not directory.exists():
        return
    if (directory / MANIFEST).is_file():
        suffix = read_manifest(directory)['key']
    else:
        suffix = f'foreign-{time.strftime("%Y%m%d-%H%M%S")}'
    os.rename(directory, directory.with_name(f'{directory.name}.{suffix}'))


def decide_on_main(decide: Callable[[], Result]) -> Result:
    """What rank 0 decides, on all ranks; collective. What it raises, all of them raise."""
    answer: list[Any] = [None, None]
    if is_main_process():
        try:
            answer[0] = decide()
        except Exception as error:  # the other ranks must not wait for a rank that is gone
            answer[1] = error
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def installed_versions() -> dict[str, str]:
    """Versions of this package and of those that decide its numbers."""
    return dict(
        luss_mm=__version__,
        mmengine=mmengine.__version__,
        torch=torch.__version__,
        numpy=np.__version__,
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
