"""What 1.2 million images cost before and between the trainings, with files of a few bytes.

    python tools/benchmarks/scale.py --out scale.json --images 1200000 --scratch DIR

Makes a folder of that many tiny files in 919 sub-folders, in a process of its own for every step
builds the data set, takes its fingerprint (what a start or a resume does), draws an epoch of
indices, and reads images with labels in their selection; then packs label maps in two ways: one
PNG a file, as the pipeline does, and all in one uncompressed zip archive. Needs an inode an image.
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from luss_mm.datasets import ClassLabelDataset, EpochSampler, LUSSDataset
from luss_mm.functional.label_codec import encode_label_map
from luss_mm.pipeline.artifact import write_atomically
from luss_mm.pipeline.generate_labels import save_label_map

FOLDERS = 919
BLOCK = 4096  # bytes of a file system's block
HEIGHT, WIDTH = 375, 500


def main() -> None:
    """Measure, write the JSON file and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--images', type=int, default=1_200_000)
    parser.add_argument('--label-maps', type=int, default=500)
    parser.add_argument('--scratch', type=Path, required=True, help='is emptied afterwards')
    parser.add_argument('--step', help='used by this program itself')
    arguments = parser.parse_args()
    if arguments.step:
        figures = measured(STEPS[arguments.step], arguments.scratch)
        arguments.out.write_text(json.dumps(figures))
        return
    if arguments.scratch.exists():
        raise SystemExit(f'{arguments.scratch} exists: name a folder that this may make and remove')
    try:
        count = write_images(arguments.scratch / 'train', arguments.images)
        write_labels(arguments.scratch, count)
        report: dict[str, object] = dict(images=count)
        for name in STEPS:
            report[name] = in_new_process(name, arguments.scratch)
        report['label_maps'] = compare_packing(arguments.scratch, arguments.label_maps, count)
    finally:
        shutil.rmtree(arguments.scratch)
    text = json.dumps(report, indent=1)
    write_atomically(arguments.out, text.encode())
    print(text)


def in_new_process(name: str, scratch: Path) -> dict[str, float]:
    """A step's figures; memory that another step left behind does not count."""
    out = scratch / f'{name}.json'
    command = [sys.executable, __file__, '--step', name, '--out', out, '--scratch', scratch]
    subprocess.run(command, check=True)
    return json.loads(out.read_text())


def measured(step: Callable[[Path], dict], scratch: Path) -> dict[str, float]:
    """A step's figures with its time and memory beyond the imports."""
    before, started = peak_megabytes(), time.perf_counter()
    figures = step(scratch)
    return figures | dict(
        seconds=round(time.perf_counter() - started, 1),
        kept_megabytes=round(resident_megabytes() - before),
        peak_megabytes=round(peak_megabytes() - before),
    )


def start(scratch: Path) -> dict[str, float]:
    """List the images and take their fingerprint."""
    started = time.perf_counter()
    dataset = plain_dataset(scratch)
    listed = time.perf_counter() - started
    dataset.fingerprint()
    return dict(seconds_to_list=round(listed, 1))


def draw_epoch(scratch: Path) -> dict[str, float]:
    """Shuffle an epoch and hand out its first thousand indices."""
    dataset = plain_dataset(scratch)
    started = time.perf_counter()
    sampler = EpochSampler(dataset, shuffle=True, seed=0)
    sampler.set_epoch(3)
    indices = iter(sampler)
    first = [next(indices) for _ in range(1000)]
    entries = [dataset.get_data_info(index % len(dataset)) for index in first]
    return dict(seconds_to_draw_1000=round(time.perf_counter() - started, 2), entries=len(entries))


def read_labels(scratch: Path) -> dict[str, float]:
    """The images with small losses, as the second classifier of DFF trains on."""
    dataset = ClassLabelDataset(
        class_labels=str(scratch / 'labels.npy'),
        losses=str(scratch / 'losses.npy'),
        small_loss=dict(rule='quantile', value=0.6),
        data_root=str(scratch),
        data_prefix=dict(img_path='train'),
        pipeline=[],
    )
    return dict(
        kept_images=len(dataset), label_of_last=int(dataset[len(dataset) - 1]['class_label'])
    )


STEPS = dict(
    start_and_fingerprint=start,
    draw_an_epoch=draw_epoch,
    select_and_read_labels=read_labels,
)


def plain_dataset(scratch: Path) -> LUSSDataset:
    """The images without labels."""
    return LUSSDataset(data_root=str(scratch), data_prefix=dict(img_path='train'), pipeline=[])


def write_images(folder: Path, count: int) -> int:
    """Files of a few bytes in sub-folders, named like ImageNet's."""
    per_folder = -(-count // FOLDERS)
    for category in range(FOLDERS):
        name = f'n{10_000_000 + 7 * category}'
        (folder / name).mkdir(parents=True)
        for image in range(per_folder):
            (folder / name / f'{name}_{37 * image}.JPEG').write_bytes(b'x' * (image % 50))
    return FOLDERS * per_folder


def write_labels(scratch: Path, count: int) -> None:
    """Class labels and losses of all images."""
    random = np.random.default_rng(0)
    np.save(scratch / 'labels.npy', random.integers(0, FOLDERS, count, dtype=np.int32))
    np.save(scratch / 'losses.npy', random.random(count, dtype=np.float32))


def compare_packing(scratch: Path, sample: int, count: int) -> dict[str, object]:
    """Write and read label maps as files and in one archive; bytes scaled to all images."""
    random = np.random.default_rng(0)
    maps = [draw_label_map(random) for _ in range(sample)]
    folder = scratch / 'maps'
    writing = timed(lambda: [save_label_map(folder / f'{i}.png', m) for i, m in enumerate(maps)])
    reading = timed(lambda: [cv2.imread(str(folder / f'{i}.png')) for i in range(sample)])
    sizes = [(folder / f'{i}.png').stat().st_size for i in range(sample)]
    on_disk = sum(-(-size // BLOCK) * BLOCK for size in sizes)
    archive = scratch / 'maps.zip'

    def pack() -> None:
        with zipfile.ZipFile(archive, 'w', zipfile.ZIP_STORED) as packed:
            for i, labels in enumerate(maps):
                encoded = cv2.imencode('.png', encode_label_map(labels)[..., ::-1])[1]
                packed.writestr(f'{i}.png', encoded.tobytes())

    def unpack() -> None:
        with zipfile.ZipFile(archive) as packed:
            for i in range(sample):
                stored = io.BytesIO(packed.read(f'{i}.png')).getbuffer()
                cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)

    packing, unpacking = timed(pack), timed(unpack)
    whole = count / sample / 2**30
    return dict(
        files=dict(
            maps_written_per_second=round(sample / writing),
            maps_read_per_second=round(sample / reading),
            gigabytes_for_all=round(on_disk * whole, 2),
        ),
        one_archive=dict(
            maps_written_per_second=round(sample / packing),
            maps_read_per_second=round(sample / unpacking),
            gigabytes_for_all=round(archive.stat().st_size * whole, 2),
        ),
    )


def draw_label_map(random: np.random.Generator) -> np.ndarray:
    """A few blobs on background, about as ragged as pixel labels of an 8 x 11 grid."""
    grid = random.integers(1, FOLDERS + 1, (32, 44)) * (random.random((32, 44)) < 0.3)
    coarse = cv2.medianBlur(grid.astype(np.float32), 5)
    size = (WIDTH, HEIGHT)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST).astype(np.int32)


def timed(work: Callable[[], object]) -> float:
    """Seconds on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_megabytes() -> float:
    """Largest resident memory of this process so far (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_megabytes() -> float:
    """Resident memory of this process now (Linux)."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


if __name__ == '__main__':
    main()
