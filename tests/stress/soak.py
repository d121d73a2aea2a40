"""Runs the small recipe again and again in one process and watches what it leaves behind.

    python tests/stress/soak.py --minutes 30 --out DIR

After every run (and a garbage collection): memory of this process, its open files, threads and
child processes, and the files in the temporary folder and in /dev/shm. `soak.json` and `soak.png`.
The first runs import and cache, so growth is counted from the sixth on.
"""

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')  # read when torch is imported
sys.path.insert(0, str(Path(__file__).parents[2]))

import matplotlib
import numpy as np
from mmengine.config import Config
from mmseg.registry import RUNNERS

import luss_mm  # noqa: F401  registers everything
from tests.small_recipe import OPTIONS, RECIPE

matplotlib.use('Agg')
from matplotlib import pyplot

ROUNDING = 0.01
# Quantities of a sample, and how much of each a run may add.
WARM_UP = 5  # runs
LIMITS = dict(memory_mb=0.2, open_files=0.0, threads=0.0, children=0.0, temporary=0.0, shared=0.0)

TITLES = dict(
    memory_mb='memory of the process (MB)',
    open_files='open files',
    threads='threads',
    children='child processes',
    temporary='files in the temporary folder',
    shared='files in /dev/shm',
)


def main():
    """Run, sample, plot; 1 if something grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=30)
    parser.add_argument('--recipe', default=RECIPE)
    parser.add_argument('--out', required=True)
    arguments = parser.parse_args()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    temporary = out.resolve() / 'temporary'
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = os.environ['TMPDIR'] = str(temporary)
    samples = soak(arguments.recipe, out, temporary, 60 * arguments.minutes)
    growth = {name: growth_per_run([sample[name] for sample in samples]) for name in LIMITS}
    (out / 'soak.json').write_text(json.dumps(dict(samples=samples, growth=growth), indent=2))
    plot(samples, out / 'soak.png')
    print(f'growth a run after {WARM_UP} runs: {growth}')
    growing = [name for name, limit in LIMITS.items() if growth[name] > limit + ROUNDING]
    print('grows: ' + ', '.join(growing) if growing else 'nothing grows')
    return int(bool(growing))


def soak(recipe, out, temporary, seconds):
    """A sample after each run."""
    samples, begun = [], time.monotonic()
    while time.monotonic() - begun < seconds:
        # A name of its own: mmengine keeps loggers and visualizers by the name of the experiment.
        work_dir = out / f'run-{len(samples)}'
        run(recipe, work_dir)
        shutil.rmtree(work_dir)
        gc.collect()
        samples.append(dict(minutes=(time.monotonic() - begun) / 60, **measure(temporary)))
        print(f'SOAK {len(samples)}: {samples[-1]}', flush=True)
    return samples


def run(recipe, work_dir):
    """The small recipe from nothing to a score, in this process."""
    config = Config.fromfile(recipe)
    config.merge_from_dict(OPTIONS)
    config.launcher, config.resume, config.work_dir = 'none', False, str(work_dir)
    RUNNERS.build(config).train()


def measure(temporary):
    """What this process holds."""
    status = Path('/proc/self/status').read_text()
    return dict(
        memory_mb=int(status.split('VmRSS:')[1].split()[0]) / 1024,
        open_files=len(os.listdir('/proc/self/fd')),
        threads=int(status.split('Threads:')[1].split()[0]),
        children=len(Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()),
        # Not the sockets through which torch's loading processes hand over tensors: each leaves one
        # in a folder that goes with this process.
        temporary=sum(path.is_file() or path.is_dir() for path in temporary.rglob('*')),
        shared=len(os.listdir('/dev/shm')),
    )


def growth_per_run(values):
    """Slope of the best line through all values after WARM_UP; 0 if there are too few."""
    values = values[WARM_UP:]
    return float(np.polyfit(range(len(values)), values, 1)[0]) if len(values) > 1 else 0.0


def plot(samples, path):
    """A panel for each quantity over minutes."""
    figure, axes = pyplot.subplots(2, 3, figsize=(10, 5), layout='constrained')
    minutes = [sample['minutes'] for sample in samples]
    for name, panel in zip(LIMITS, axes.flat, strict=True):
        panel.plot(minutes, [sample[name] for sample in samples], marker='.')
        panel.set(title=TITLES[name], xlabel='minutes')
        panel.set_ylim(0, 1.1 * max(sample[name] for sample in samples) or 1)
    figure.savefig(path, dpi=100)


if __name__ == '__main__':
    raise SystemExit(main())
