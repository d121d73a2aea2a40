"""Label maps of all images as one PNG a file, or packed: what each costs to write, read and delete.

    python tools/benchmarks/label_map_storage.py --out storage.json --scratch DIR

Files are written as the pipeline does, under another name and then renamed; one uncompressed zip
archive; and LMDB through mmengine's backend, if the package `lmdb` is installed. All hold the same
encoded bytes; encoding and decoding are timed apart. Reads are in random order, once with the
content thrown out of the memory of the operating system (but not its folders), once after.
Deleting files takes far longer on a disk that is mounted with `discard`.
"""

import argparse
import importlib.util
import json
import os
import shutil
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from luss_mm.datasets.label_map_file import PNG_OPTIONS
from luss_mm.functional.label_codec import decode_label_map, encode_label_map
from luss_mm.work_dir.atomic_files import write_atomically

import cv2
import numpy as np
from mmengine.fileio import LmdbBackend

HEIGHT, WIDTH = 375, 500
CATEGORIES = 919
DISTINCT = 200  # maps that are drawn; the sample repeats them
PER_FOLDER = 1300
SHARD = 256  # label maps that are written together
SECTOR = 512  # bytes of `st_blocks`
LARGEST = 2**36  # bytes of address space that LMDB reserves


def main() -> None:
    """Measure, write the JSON file and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--scratch', type=Path, required=True, help='must not be there yet')
    parser.add_argument('--label-maps', type=int, default=20_000, help='that are written')
    parser.add_argument('--images', type=int, default=1_200_000, help='that figures are scaled to')
    arguments = parser.parse_args()
    if arguments.scratch.exists():
        raise SystemExit(f'{arguments.scratch} exists: name a folder that this may make and remove')
    text = json.dumps(
        compare_storage(arguments.scratch, arguments.label_maps, arguments.images), indent=1
    )
    write_atomically(arguments.out, text.encode())
    print(text)


class Storage(ABC):
    """A way to keep label maps in a folder.

    Args:
        folder: Its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def write(self, items: list[tuple[str, bytes]]) -> None:
        """Write label maps; on return they are there, though perhaps not on disk."""

    @abstractmethod
    def reader(self) -> Callable[[str], bytes]:
        """What a loading process reads single label maps with."""


class Files(Storage):
    """One PNG a file."""

    def write(self, items: list[tuple[str, bytes]]) -> None:
        """As `save_label_map`."""
        for name, content in items:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name('.tmp.png')
            temporary.write_bytes(content)
            os.replace(temporary, path)

    def reader(self) -> Callable[[str], bytes]:
        """Opens a file a label map."""
        return lambda name: (self.folder / name).read_bytes()


class Archive(Storage):
    """One zip archive without compression."""

    def write(self, items: list[tuple[str, bytes]]) -> None:
        """In one go; the table of contents comes last, so none can be read before the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(self.folder / 'maps.zip', 'w', zipfile.ZIP_STORED) as archive:
            for name, content in items:
                archive.writestr(name, content)

    def reader(self) -> Callable[[str], bytes]:
        """Holds the table of contents in memory."""
        return zipfile.ZipFile(self.folder / 'maps.zip').read


class Database(Storage):
    """LMDB, as mmengine reads it."""

    def write(self, items: list[tuple[str, bytes]]) -> None:
        """A transaction, which waits for the disk, a shard; one process writes at a time."""
        import lmdb

        self.folder.mkdir(parents=True, exist_ok=True)
        with lmdb.open(str(self.folder), map_size=LARGEST) as database:
            for start in range(0, len(items), SHARD):
                with database.begin(write=True) as transaction:
                    for name, content in items[start : start + SHARD]:
                        transaction.put(name.encode(), content)

    def reader(self) -> Callable[[str], bytes]:
        """Maps the file."""
        return LmdbBackend(self.folder).get


def compare_storage(scratch: Path, sample: int, count: int) -> dict[str, object]:
    """Figures of each way, and of encoding and decoding.

    Args:
        scratch: Folder that is made and removed.
        sample: Label maps that are written and read.
        count: Number that seconds, gigabytes and inodes are scaled to.
    """
    random = np.random.default_rng(0)
    maps = [draw_label_map(random) for _ in range(min(DISTINCT, sample))]
    encoded: list[bytes] = []
    encoding = timed(lambda: encoded.extend(map(encode, maps)))
    decoding = timed(lambda: [decode(content) for content in encoded])
    names = [f'n{i // PER_FOLDER:08d}/n{i // PER_FOLDER:08d}_{i}.png' for i in range(sample)]
    report: dict[str, object] = dict(
        label_maps=sample,
        scaled_to=count,
        mean_bytes=round(float(np.mean([len(content) for content in encoded]))),
        encoded_per_second=round(len(maps) / encoding),
        decoded_per_second=round(len(maps) / decoding),
    )
    ways: dict[str, type[Storage]] = dict(files=Files, zip=Archive)
    if importlib.util.find_spec('lmdb'):
        ways['lmdb'] = Database
    else:
        report['lmdb'] = 'skipped: pip install lmdb'
    items = [(name, encoded[i % len(encoded)]) for i, name in enumerate(names)]
    for way, kind in ways.items():
        report[way] = measure(kind(scratch / way), items, count)
    scratch.rmdir()
    return report


def measure(storage: Storage, items: list[tuple[str, bytes]], count: int) -> dict[str, float]:
    """Rates of one way; it is deleted afterwards."""
    writing = timed(lambda: storage.write(items))
    syncing = timed(os.sync)
    order = np.random.default_rng(1).permutation(len(items)).tolist()
    contents = [items[i] for i in order]
    for path in all_below(storage.folder):
        forget(path)
    cold, warm = (timed(lambda: read_all(storage, contents)) for _ in ('cold', 'warm'))
    statuses = [path.lstat() for path in (storage.folder, *storage.folder.rglob('*'))]
    scale = count / len(items)
    deleting = timed(lambda: shutil.rmtree(storage.folder))
    return dict(
        written_per_second=round(len(items) / writing),
        seconds_to_sync=round(syncing, 2),
        read_cold_per_second=round(len(items) / cold),
        read_warm_per_second=round(len(items) / warm),
        hours_to_write_all=round(writing * scale / 3600, 2),
        gigabytes_for_all=round(sum(s.st_blocks for s in statuses) * SECTOR * scale / 2**30, 2),
        inodes_for_all=round(len(statuses) * scale) if len(statuses) > 9 else len(statuses),
        seconds_to_delete_all=round(deleting * scale, 1),
    )


def read_all(storage: Storage, contents: list[tuple[str, bytes]]) -> None:
    """Every label map once, with a reader of its own, and compare."""
    read = storage.reader()
    for name, content in contents:
        assert read(name) == content


def all_below(folder: Path) -> Iterator[Path]:
    """All files."""
    return (path for path in folder.rglob('*') if path.is_file())


def forget(path: Path) -> None:
    """Drop a file's content from the memory of the operating system (Linux)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def draw_label_map(random: np.random.Generator) -> np.ndarray:
    """A few blobs on background, about as ragged as pixel labels of an 8 x 11 grid."""
    grid = random.integers(1, CATEGORIES + 1, (32, 44)) * (random.random((32, 44)) < 0.3)
    coarse = cv2.medianBlur(grid.astype(np.float32), 5)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST).astype(np.int32)


def encode(labels: np.ndarray) -> bytes:
    """As the pipeline's label maps."""
    rgb = encode_label_map(labels)
    return cv2.imencode('.png', rgb[..., ::-1], PNG_OPTIONS)[1].tobytes()


def decode(content: bytes) -> np.ndarray:
    """Ids of a label map."""
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return decode_label_map(bgr[..., ::-1])


def timed(work: Callable[[], object]) -> float:
    """Seconds on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == '__main__':
    main()
