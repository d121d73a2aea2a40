"""What K = 919 costs: a fine-tuning step of pass_s919.py, and the label map of a large image.

    python tools/benchmarks/many_categories.py [--batch-size 8] [--out FILE.json]

Each is measured in a process of its own: seconds (the second of two calls) and the peak of its
resident memory above what the network alone takes.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import luss_mm  # noqa: F401  registers everything
from luss_mm.recipes.recipe import Recipe
from luss_mm.work_dir.atomic_files import write_atomically

import torch
from comparison import cost
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

RECIPE = Path(__file__).parents[2] / 'configs' / 'luss' / 'pass_s919.py'
LARGE = (1944, 2592)  # pixels
SHORT_SIDE = 256


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--out', type=Path)
    arguments = parser.parse_args()
    jobs = {
        f'training step, {arguments.batch_size} images of 224 x 224': (train, arguments.batch_size),
        f'prediction of {LARGE[1]} x {LARGE[0]} pixels': (predict, LARGE),
    }
    report = dict(torch_threads=torch.get_num_threads(), gpu=torch.cuda.is_available())
    for name, (measure, argument) in jobs.items():
        with ProcessPoolExecutor(1, get_context('spawn')) as pool:
            report[name] = pool.submit(measure, argument).result()
    report['comparisons'] = {
        f'K = 919: {name}{ending}': cost(report[name][figure], None, unit)
        for name in jobs
        for figure, unit, ending in (('seconds', 's', ''), ('gigabytes', 'GB', ', memory'))
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        write_atomically(arguments.out, text.encode())


def train(batch_size: int) -> dict[str, float]:
    """Forward, backward and update."""
    model = build()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    labels = torch.randint(920, (1, 224, 224))
    batch = dict(
        inputs=[torch.randint(256, (3, 224, 224), dtype=torch.uint8)] * batch_size,
        data_samples=[SegDataSample(gt_sem_seg=PixelData(data=labels))] * batch_size,
    )

    def step() -> None:
        data = model.data_preprocessor(batch, training=True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return time_and_memory(step)


def predict(size: tuple[int, int]) -> dict[str, float]:
    """Label map at full size from an input with a short side of 256."""
    model = build().eval()
    width = round(SHORT_SIDE * size[1] / size[0])
    batch = dict(
        inputs=[torch.randint(256, (3, SHORT_SIDE, width), dtype=torch.uint8)],
        data_samples=[SegDataSample(metainfo=dict(ori_shape=size, img_shape=(SHORT_SIDE, width)))],
    )
    return time_and_memory(lambda: model.test_step(batch))


def build() -> torch.nn.Module:
    """The segmentor of the recipe."""
    init_default_scope('mmseg')
    config = Config.fromfile(RECIPE)
    config.work_dir = 'work_dirs/many_categories'
    return MODELS.build(Recipe(config).stage('finetune', 'unused')['model'])


def time_and_memory(call: Callable[[], object]) -> dict[str, float]:
    """Seconds of the second call, and the process's peak in GB above its peak before the first."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    started = time.perf_counter()
    call()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return dict(seconds=round(seconds, 2), gigabytes=round((peak - before) / 1e6, 2))


if __name__ == '__main__':
    main()
