"""A fine-tuning step of the tiny job, alone and beside busy processes, in turns.

    python tools/benchmarks/busy_machine.py --out busy.json --cores 2
    OMP_WAIT_POLICY=active python tools/benchmarks/busy_machine.py --out active.json --cores 2

The step (images of 96 pixels, ResNet-18, batch 32) and the busy processes share the cores. Whatever
else runs on them slows all rows down and brings the ratios closer together, so ratios of a machine
that others use are too small.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.processes import device_overrides
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.trials import build_model, collate, draw_made_up_samples
from luss_mm.work_dir.atomic_files import write_json

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

RECIPE = Path(__file__).parents[2] / 'configs' / 'luss' / 'pass_tiny.py'
SIDE = 96  # of the tiny job's images in pixels


def main() -> None:
    """Measure, write the JSON file and print it."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--busy', type=int, nargs='+', default=[0, 1, 3], help='processes (0 1 3)')
    parser.add_argument('--steps', type=int, default=5, help='in a row (%(default)s)')
    parser.add_argument('--rounds', type=int, default=4, help='of all (%(default)s)')
    parser.add_argument('--cores', type=int, help='that all share; default: all')
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
        torch.set_num_threads(arguments.cores)
    with DefaultScope.overwrite_default_scope('mmseg'):
        step = build_step()
        step()
        seconds = {number: [] for number in arguments.busy}
        for _ in range(arguments.rounds):
            for number in arguments.busy:
                seconds[number] += beside(number, step, arguments.steps)
    alone = median(seconds[arguments.busy[0]])
    report = dict(waiting=os.environ['OMP_WAIT_POLICY'], threads=torch.get_num_threads())
    for number, taken in seconds.items():
        report[f'beside {number}'] = dict(
            seconds=round(median(taken), 3), ratio=round(median(taken) / alone, 2)
        )
    write_json(arguments.out, report, indent=1)
    print(json.dumps(report))


def build_step() -> Callable[[], object]:
    """A whole step of the recipe's last stage on made-up images."""
    config = Config.fromfile(RECIPE)
    config.work_dir = 'none'
    stage = dict(Recipe(config).stage('finetune', config.work_dir))
    stage |= device_overrides(stage)
    loader = stage['train_dataloader']
    samples = draw_made_up_samples(loader, loader['batch_size'], (SIDE, SIDE)).few
    model = build_model(stage['model'], 'cpu').train()
    optimizer = build_optim_wrapper(model, stage['optim_wrapper'])
    return lambda: model.train_step(collate(loader, samples), optimizer)


def beside(number: int, step: Callable[[], object], steps: int) -> list[float]:
    """Seconds of each step while so many processes compute."""
    busy = [multiprocessing.Process(target=compute, daemon=True) for _ in range(number)]
    for process in busy:
        process.start()
    time.sleep(0.2)
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    for process in busy:
        process.kill()
        process.join()
    return seconds


def compute() -> None:
    """Keep a core busy."""
    while True:
        sum(range(10**6))


if __name__ == '__main__':
    main()
