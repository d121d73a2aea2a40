"""Which pieces of an interrupted output are finished, so that only the others are made again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luss_mm.work_dir.artifact import sizes_of
from luss_mm.work_dir.atomic_files import write_atomically
from luss_mm.work_dir.stop_request import stop_if_asked


class FinishedShards:
    """The finished pieces of an output that is being made; `shard in finished` asks for one.

    A piece is finished if it is on record and its files have the sizes that the record tells.
    Label maps and pictures are not forced to the disk one by one, which would take far longer, so
    a machine that loses power may leave empty ones behind; records are.

    Args:
        directory: Of the output; the records lie in its folder `.finished-shards`.
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
        record = json.dumps(dict(files=sizes, content=content))
        write_atomically(self._path(shard), record.encode())
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
