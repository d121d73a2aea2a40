"""Embeddings and pixel labels of a folder of images, ours against one image at a time.

    python tools/benchmarks/features_and_labels.py --out features.json --images DIR

`DIR` holds photographs; without it 375 x 500 images are generated. Both ways use one network with
attention (random weights: speed does not depend on them), and the same K random centroids. The
alternative is `one_by_one.py`; ours is `extract_features` and `generate_labels` as the recipes call
them, label maps and manifests included, in float32 and in bfloat16.

Measured are CPU seconds on one core (everything in this process), the clock on `--cores` cores
(ours with loading processes and writing threads, both with as many threads in torch), and the peak
memory of ours after more and more images. On a GPU the clock counts in both.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.inference.inferencer import input_images
from luss_mm.models import PixelAttentionModel
from luss_mm.models.attended_backbone import PRECISIONS, AttendedInference
from luss_mm.pipeline.features import extract_features
from luss_mm.pipeline.generate_labels import PixelLabeller, generate_labels
from luss_mm.pipeline.image_batches import ShardedBatches

import cv2
import numpy as np
import torch
from comparison import rate, write_report
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS, TRANSFORMS
from one_by_one import OneByOne
from torch.nn import functional as F
from views import write_images

RESIZE, CROP, THRESHOLD = 256, 224, 0.4
MOST_GENERATED = 64
LOADING = [
    dict(type='LoadBoundedImage'),
    dict(type='ResizeShortSide', side=RESIZE),
]
Work = tuple[Callable[[], object], Callable[[], object]]


def main() -> None:
    """Measure, write the JSON file and print the comparisons."""
    arguments = parse_arguments()
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'), tempfile.TemporaryDirectory() as scratch:
        if arguments.only_memory:
            print(peak_megabytes(Path(scratch), arguments))
            return
        report = compare(Path(scratch), arguments)
    counts = [arguments.count // 2, 2 * arguments.count, 8 * arguments.count]
    report['peak_megabytes'] = {count: memory_of(count, arguments) for count in counts}
    write_report(arguments.out, report)


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line, or these words."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path)
    parser.add_argument('--images', type=Path, help='folder of photographs')
    parser.add_argument('--count', type=int, default=64)
    parser.add_argument('--depth', type=int, default=18, choices=(18, 50))
    parser.add_argument('--categories', type=int, default=50)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--cores', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--precision', choices=PRECISIONS, help='one of ours alone')
    parser.add_argument('--only-memory', action='store_true', help='print the peak of ours, in MB')
    arguments = parser.parse_args(words)
    if arguments.out is None and not arguments.only_memory:
        parser.error('--out FILE says where the results go')
    return arguments


def compare(work: Path, arguments: argparse.Namespace) -> dict:
    """Images per second of every way and their ratios."""
    link_images(work / 'images', arguments.images, arguments.count)
    network = Network(arguments)
    precisions = [arguments.precision] if arguments.precision else PRECISIONS
    ways = {f'ours, {p}': lambda out, n, p=p: network.ours(work, out, p, n) for p in precisions}
    ways['one by one'] = lambda out, _: network.theirs(work, out)
    one_core, all_cores = {}, {}
    for name, way in ways.items():
        torch.set_num_threads(1)
        one_core[name] = seconds(way(work / name, 0), time.process_time, network.device)
        torch.set_num_threads(arguments.cores)
        workers = max(1, arguments.cores // 2)
        all_cores[name] = seconds(way(work / f'{name}, all', workers), time.time, network.device)
    step = f'ResNet-{arguments.depth}'
    steps = (f'embeddings, {step}', f'pixel labels, {step}, K = {arguments.categories}')
    comparisons = {}
    for way in list(ways)[:-1]:
        for i, title in enumerate(steps):
            for unit, times in (('a core', one_core), (f'on {arguments.cores} cores', all_cores)):
                ours, theirs = (arguments.count / times[w][i] for w in (way, 'one by one'))
                label = f'{title}, {way.removeprefix("ours, ")}, {unit}'
                comparisons[label] = rate(ours, theirs, f'images/s {unit}', 'one image at a time')
    return dict(
        images=arguments.count,
        device=network.device.type,
        comparisons=comparisons,
        equal_pixels={
            way: round(compare_maps(work / way / 'labels', work / 'one by one' / 'labels'), 4)
            for way in list(ways)[:-1]
        },
    )


class Network:
    """Backbone and attention with random weights, and centroids.

    Args:
        arguments: Arguments of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        channels = dict([(18, 512), (50, 2048)])[arguments.depth]
        self.model = build_model(arguments.depth, channels)
        self.centroids = F.normalize(torch.randn(arguments.categories, channels), dim=1)

    def ours(self, work: Path, out: Path, precision: str, workers: int) -> Work:
        """Features and label maps as the recipes make them."""
        inference = AttendedInference(self.model, precision).to(self.device)

        def batches(*more: dict) -> ShardedBatches:
            dataset = DATASETS.build(
                dict(
                    type='LUSSDataset',
                    data_root=str(work),
                    data_prefix=dict(img_path='images'),
                    pipeline=[*LOADING, *more, dict(type='PackImage')],
                )
            )
            return ShardedBatches(dataset, self.arguments.batch, num_workers=workers)

        def embed() -> None:
            crop = batches(dict(type='CenterCrop', crop_size=CROP))
            extract_features(out / 'features', inference, crop, {}, {}, self.device)

        def label() -> None:
            embeddings = np.load(out / 'features' / 'embeddings.npy', mmap_mode='r')
            transform = TRANSFORMS.build(dict(type='GeneratePseudoLabel'))
            labeller = PixelLabeller(inference, self.centroids.numpy(), THRESHOLD, transform)
            generate_labels(out / 'labels', labeller, batches(), embeddings, {}, {})

        return embed, label

    def theirs(self, work: Path, out: Path) -> Work:
        """The published steps."""
        loop = OneByOne(self.model, self.centroids, RESIZE, CROP, THRESHOLD, self.device)
        paths = sorted((work / 'images').iterdir())
        out.mkdir()
        return (
            lambda: loop.embed(paths, out / 'embeddings.npy'),
            lambda: loop.label(paths, out / 'labels'),
        )


def build_model(depth: int, channels: int) -> PixelAttentionModel:
    """Backbone and attention with random weights, in eval mode."""
    model = MODELS.build(
        dict(
            type='PixelAttentionModel',
            data_preprocessor=dict(type='ViewsPreprocessor'),
            backbone=dict(type='mmpretrain.ResNet', depth=depth),
            channels=channels,
            head=dict(type='PrototypeHead', in_channels=channels, hidden_channels=64),
        )
    )
    return model.eval()


def seconds(work: Work, clock: Callable[[], float], device: torch.device) -> list[float]:
    """What each piece of work takes; see the module's text."""
    taken = []
    for piece in work:
        clock = time.time if device.type == 'cuda' else clock
        started = clock()
        piece()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        taken.append(clock() - started)
    return taken


def link_images(folder: Path, source: Path | None, count: int) -> None:
    """Images of a folder, or generated ones, side by side; some of them again if they are few."""
    folder.mkdir()
    if source is None:
        write_images(folder, min(count, MOST_GENERATED))
        paths = sorted(folder.iterdir())
    else:
        paths = [source / name for name in input_images(source)]
        paths = paths[:: max(1, len(paths) // count)][:count]
    for number in range(len(paths) if source is None else 0, count):
        target = paths[number % len(paths)].resolve()
        (folder / f'{number:06d}{target.suffix}').symlink_to(target)


def compare_maps(ours: Path, theirs: Path) -> float:
    """Share of pixels with the same label; the enlarging of label maps differs."""
    equal = total = 0
    for path in sorted(theirs.glob('*.png')):
        own = cv2.imread(str(ours / path.name), cv2.IMREAD_UNCHANGED)
        same = (own == cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).all(axis=-1)
        equal, total = equal + int(same.sum()), total + same.size
    return equal / total


def memory_of(count: int, arguments: argparse.Namespace) -> int:
    """Peak resident megabytes of a process that makes our features and label maps."""
    command = [sys.executable, __file__, '--only-memory', '--count', str(count)]
    for name in ('images', 'depth', 'categories', 'batch', 'cores', 'precision'):
        if (value := getattr(arguments, name)) is not None:
            command += [f'--{name}', str(value)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.splitlines()[-1])


def peak_megabytes(work: Path, arguments: argparse.Namespace) -> int:
    """Make features and label maps; the peak of this process."""
    link_images(work / 'images', arguments.images, arguments.count)
    torch.set_num_threads(arguments.cores)
    network = Network(arguments)
    precision = arguments.precision or PRECISIONS[-1]
    for piece in network.ours(work, work / 'ours', precision, 0):
        piece()
    status = Path('/proc/self/status').read_text()  # getrusage would count the parent's memory too
    (line,) = (line for line in status.splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) // 1024


if __name__ == '__main__':
    main()
