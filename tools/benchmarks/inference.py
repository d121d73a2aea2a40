"""Our inference of a folder against mmseg's, one image at a time, on the same files.

    python tools/benchmarks/inference.py WORK_DIR IMAGES --out inference.json

Both read every image below IMAGES and write its label map. Ours is what `tools/infer.py --outputs
labels` does, listing included; the loop calls `mmseg.apis.inference_model` with a path and writes
its label map as ours are written. The two take turns, --rounds times; images/s are of the fastest
round of each, model loading excluded. Images whose label maps differ are counted. CPU time is that
of all threads.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import luss_mm  # noqa: F401  registers everything
from luss_mm.cli.arguments import new_parser
from luss_mm.datasets.mask_files import save_label_map
from luss_mm.inference.infer_folder import FolderInference
from luss_mm.inference.inferencer import LUSSInferencer, image_path, input_images
from luss_mm.recipes.image_preparation import image_transforms

import cv2
import numpy as np
import torch
from comparison import rate, write_report
from mmengine.config import ConfigDict
from mmseg.apis import inference_model, init_model


def main() -> None:
    """Measure, write the JSON file and print the comparisons."""
    parser = new_parser(__doc__)
    parser.add_argument('work_dir')
    parser.add_argument('images', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 16])
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    write_report(arguments.out, compare(arguments))


def compare(arguments: argparse.Namespace) -> dict[str, object]:
    """Speed and agreement of the ways."""
    ours = LUSSInferencer(arguments.work_dir, device=arguments.device)
    theirs = mmseg_model(ours, arguments.device)
    paths = list(input_images(arguments.images))
    ways: dict[str, Callable[[Path], None]] = {
        'one at a time': lambda folder: one_at_a_time(theirs, arguments.images, paths, folder)
    }
    for size in arguments.batch_sizes:
        ways[f'ours, batch {size}'] = lambda folder, size=size: FolderInference(
            ours, arguments.images, ['labels'], size, num_workers=arguments.workers
        ).write(folder)
    report: dict[str, object] = dict(
        images=len(paths),
        device=arguments.device,
        cpus=os.cpu_count(),
        torch_threads=torch.get_num_threads(),
        workers=arguments.workers,
    )
    clock: dict[str, list[float]] = {way: [] for way in ways}
    processor: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as root:
        for number in range(arguments.rounds):
            for way, work in ways.items():
                started, cpu = time.perf_counter(), time.process_time()
                work(Path(root, way, str(number)))
                clock[way].append(time.perf_counter() - started)
                processor[way].append(time.process_time() - cpu)
        first, *others = (Path(root, way, '0', 'labels') for way in ways)
        differing = [count_differences(first, other, paths) for other in others]
    for index, way in enumerate(ways):
        report[way] = dict(
            images_per_second=round(len(paths) / min(clock[way]), 1),
            cpu_milliseconds_an_image=round(1000 * min(processor[way]) / len(paths), 2),
        )
        if index:
            images, pixels = differing[index - 1]
            report[way] |= dict(
                ratio=round(min(clock['one at a time']) / min(clock[way]), 2),
                differing_images=images,
                differing_pixels=pixels,
            )
    report['comparisons'] = {
        f'inference of a folder, batch {size}': rate(
            report[f'ours, batch {size}']['images_per_second'],
            report['one at a time']['images_per_second'],
            'images/s',
            'mmseg, one image at a time',
        )
        for size in arguments.batch_sizes
    }
    return report


def mmseg_model(inferencer: LUSSInferencer, device: str) -> torch.nn.Module:
    """The same segmentor as mmseg's functions want it."""
    config = inferencer.source.config.copy()
    pipeline = image_transforms(inferencer.source.test_pipeline)
    config.test_pipeline = [ConfigDict(transform) for transform in pipeline]
    return init_model(config, str(inferencer.source.checkpoint), device)


def one_at_a_time(model: torch.nn.Module, images: Path, paths: list[str], folder: Path) -> None:
    """The loop that mmseg's documentation shows, with our label maps written."""
    for path in paths:
        result = inference_model(model, str(image_path(images, path)))
        labels = result.pred_sem_seg.data[0].cpu().numpy()
        save_label_map((folder / 'labels' / path).with_suffix('.png'), labels)


def count_differences(first: Path, second: Path, paths: list[str]) -> tuple[int, int]:
    """Images and pixels that differ between two folders of label maps."""
    images = pixels = 0
    for path in paths:
        maps = [cv2.imread(str((f / path).with_suffix('.png'))) for f in (first, second)]
        different = np.count_nonzero((maps[0] != maps[1]).any(axis=2))
        images += different > 0
        pixels += different
    return int(images), int(pixels)


if __name__ == '__main__':
    main()
