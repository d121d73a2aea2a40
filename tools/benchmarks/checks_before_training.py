"""What all checks before a training take, on a folder in the layout of ImageNet-S50.

    python tools/benchmarks/checks_before_training.py --images 64431 --scratch DIR --out FILE

50 category folders of JPEGs of 256 x 320 pixels (hard links to 50 files), and 752 validation images
with masks. `pdso_folder` is started on them and stopped where its first stage would begin.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from luss_mm.engine import staged_runner
from luss_mm.functional.label_codec import encode_label_map
from luss_mm.recipes.config_file import read_config
from luss_mm.recipes.find_recipe import find_recipe
from luss_mm.work_dir.atomic_files import write_atomically

import cv2
import numpy as np
from mmseg.registry import RUNNERS

CATEGORIES, VALIDATION = 50, 752
PARTS = ('check_data', 'announce_estimate', 'check_images_of', 'check_extremes')


class CheckedAndReady(Exception):
    """All checks have passed; the first stage would begin."""


def main() -> None:
    """Make the files, check them, print and write seconds and processor seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--scratch', type=Path, required=True, help='is emptied afterwards')
    arguments = parser.parse_args()
    if arguments.scratch.exists():
        raise SystemExit(f'{arguments.scratch} exists: name a folder that this may make and remove')
    try:
        write_data(arguments.scratch / 'data', arguments.images)
        report = dict(images=arguments.images, **times_of_checks(arguments.scratch))
    finally:
        shutil.rmtree(arguments.scratch)
    text = json.dumps(report, indent=1)
    write_atomically(arguments.out, text.encode())
    print(text)


def write_data(folder: Path, count: int) -> None:
    """`train`, `validation` and `validation-segmentation`."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (CATEGORIES, 8, 10, 3), dtype=np.uint8)
    for split, number in (('train', count), ('validation', VALIDATION)):
        for index in range(number):
            category = index % CATEGORIES
            path = folder / split / f'c{category:02d}' / f'{index:06d}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            if index < CATEGORIES:
                image = cv2.resize(coarse[category], (320, 256), interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(path), image)
            else:
                os.link(path.with_name(f'{category:06d}.jpg'), path)
            if split == 'validation':
                mask = np.zeros((256, 320), np.int64)
                mask[64:192, 80:240] = category + 1
                path = folder / 'validation-segmentation' / f'c{category:02d}' / f'{index:06d}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), encode_label_map(mask)[..., ::-1])


def times_of_checks(scratch: Path) -> dict[str, str]:
    """Time until the recipe is read, of each part of the checks, and of all of it."""
    settings = dict(data_root=str(scratch / 'data'), num_categories=CATEGORIES)
    times: dict[str, str] = {}
    for name in PARTS:
        setattr(staged_runner, name, timed(getattr(staged_runner, name), name, times))

    def check() -> None:
        config = read_config(find_recipe('pdso_folder'), settings)
        config.work_dir, config.launcher, config.resume = str(scratch / 'run'), 'none', False
        runner = RUNNERS.build(config)
        runner._run_stage = _stop
        try:
            runner.train()
        except CheckedAndReady:
            pass

    timed(check, 'all', times)()
    return times


def timed(function: Callable, name: str, times: dict[str, str]) -> Callable:
    """The function, which also notes its seconds and processor seconds."""

    def call(*arguments: object) -> object:
        start, busy = time.perf_counter(), time.process_time()
        result = function(*arguments)
        taken, used = time.perf_counter() - start, time.process_time() - busy
        times[name] = f'{taken:.1f} s ({used:.1f})'
        return result

    return call


def _stop(name: str) -> None:
    raise CheckedAndReady(name)


if __name__ == '__main__':
    main()
