"""What 1.2 million images cost before and between the trainings, with files of a few bytes.

    python tools/benchmarks/scale.py --out scale.json --scratch DIR

Makes a folder of that many tiny files in 919 sub-folders and measures, each in a process of its
own: mmseg's list of dicts; our first process of a start, which lists and keeps the list, and any
other one, which maps it; the fingerprint; an epoch of indices; labels and a selection by losses;
resuming with every shard of features or label maps finished. Needs two inodes an image, and
minutes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from luss_mm.work_dir.atomic_files import write_atomically

from comparison import cost
from scale_steps import STEPS, write_images, write_labels


def main() -> None:
    """Measure, write the JSON file and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--images', type=int, default=1_200_000)
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
        report = measure_all(arguments)
        text = json.dumps(report, indent=1)
        write_atomically(arguments.out, text.encode())
        print(text, flush=True)
    finally:
        shutil.rmtree(arguments.scratch)  # takes minutes on disks that are told of every free block


def measure_all(arguments: argparse.Namespace) -> dict[str, object]:
    """Figures of every step."""
    scratch = arguments.scratch
    count = write_images(scratch / 'train', arguments.images)
    write_labels(scratch, count)
    report: dict[str, object] = dict(images=count)
    for name in STEPS:
        report[name] = in_new_process(name, scratch)
    report['bytes_on_disk'] = bytes_on_disk(scratch)
    return report | dict(comparisons=comparisons(report))


def in_new_process(name: str, scratch: Path) -> dict[str, float]:
    """A step's figures; memory that another step left behind does not count."""
    out = scratch / f'{name}.json'
    command = [sys.executable, __file__, '--step', name, '--out', out, '--scratch', scratch]
    subprocess.run(command, check=True)
    return json.loads(out.read_text())


def measured(step: Callable[[Path], dict], scratch: Path) -> dict[str, float]:
    """A step's figures with its times and memory beyond the imports.

    Memory that is this process's own is told from pages of mapped files, which processes share.
    """
    Path('/proc/self/clear_refs').write_text('5')  # the peak so far: the imports', the parent's
    before, started = resident_megabytes(), time.perf_counter()
    processor = time.process_time()
    figures = step(scratch)
    after = resident_megabytes()
    return figures | dict(
        seconds=round(time.perf_counter() - started, 2),
        processor_seconds=round(time.process_time() - processor, 2),
        kept_megabytes=round(after['RssAnon'] - before['RssAnon']),
        mapped_megabytes=round(after['RssFile'] - before['RssFile']),
        peak_megabytes=round(after['VmHWM'] - before['VmRSS']),
    )


def bytes_on_disk(scratch: Path) -> dict[str, int]:
    """Of what is kept for all images."""
    (index,) = (scratch / 'image_index').iterdir()
    clusters = {path.name: path.stat().st_size for path in (scratch / 'clusters').iterdir()}
    return dict(image_index=index.stat().st_size, **clusters)


def comparisons(report: dict) -> dict[str, dict]:
    """Ours and mmseg's list, see comparison.py."""
    theirs, ours, mapped = (
        report[name] for name in ('mmseg_list_of_dicts', 'own_list', 'mapped_list')
    )
    against, images = "mmseg's list of dicts", f'{report["images"]:,} images'
    return {
        f'listing {images}': cost(ours['seconds'], theirs['seconds'], 's', against),
        f'{images} in every further process': cost(
            mapped['seconds'], theirs['seconds'], 's', against
        ),
        f'listing {images}, peak memory': cost(
            ours['peak_megabytes'], theirs['peak_megabytes'], 'MB', against
        ),
    }


def resident_megabytes() -> dict[str, float]:
    """Resident memory of this process (Linux).

    Now (VmRSS), of that its own (RssAnon) and mapped files (RssFile), and the peak (VmHWM).
    """
    lines = Path('/proc/self/status').read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    names = ('VmRSS', 'VmHWM', 'RssAnon', 'RssFile')
    return {name: int(fields[name].split()[0]) / 1024 for name in names}


if __name__ == '__main__':
    main()
