"""A step of the tiny job's fine-tuning beside busy processes, with threads that wait either way.

    python tools/benchmarks/waiting_threads.py --out waiting.json

Each figure is the median of some steps of `configs/luss/pass_tiny.py` (32 images), in a process of
its own that starts with the variable OMP_WAIT_POLICY set; the busy processes count, one thread
each. What else runs on the machine is in `load_average`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from luss_mm.work_dir.atomic_files import write_atomically

POLICIES = ('passive', 'active')
BUSY = [sys.executable, '-c', 'while True: pass']
BATCH = 32  # that of the recipe


def main() -> None:
    """Measure, write the JSON file and print it; or measure one figure in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path)
    parser.add_argument('--busy', type=int, nargs='+', default=[0, 1, 3], help='processes beside')
    parser.add_argument('--steps', type=int, default=10, help='after two to warm up')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--only-steps', action='store_true', help='print the median step')
    options = parser.parse_args()
    if options.only_steps:
        print(median_step(options.steps, options.threads))
        return
    if options.out is None:
        parser.error('--out FILE says where the results go')
    report: dict[str, object] = dict(threads=options.threads, steps=options.steps)
    for busy in options.busy:
        seconds = {policy: measured(policy, busy, options) for policy in POLICIES}
        report[f'beside {busy}'] = seconds
        print(f'beside {busy} busy processes: {seconds}', flush=True)
    report['load_average'] = os.getloadavg()
    write_atomically(options.out, json.dumps(report, indent=1).encode())


def measured(policy: str, busy: int, options: argparse.Namespace) -> float:
    """Seconds of a step beside some busy processes."""
    words = ['--only-steps', '--steps', str(options.steps), '--threads', str(options.threads)]
    beside = [subprocess.Popen(BUSY) for _ in range(busy)]
    try:
        done = subprocess.run(
            [sys.executable, __file__, *words],
            env=os.environ | dict(OMP_WAIT_POLICY=policy),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    finally:
        for process in beside:
            process.kill()
            process.wait()
    return float(done.stdout.splitlines()[-1])


def median_step(count: int, threads: int) -> float:
    """Of this process."""
    import torch
    from gpu import TINY_RECIPE, Sizes, fine_tuning_steps

    torch.set_num_threads(threads)
    step = fine_tuning_steps(Sizes(recipe=TINY_RECIPE, batch=BATCH))['ours']
    taken = []
    for _ in range(count + 2):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken[2:]), 4)


if __name__ == '__main__':
    main()
