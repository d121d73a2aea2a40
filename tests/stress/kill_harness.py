"""Kills a recipe at random moments, restarts it, and compares with an uninterrupted run.

    python tests/stress/kill_harness.py --recipe configs/luss/pdso_tiny.py --kills 30 --seed 0 \
        --small --out DIR

A run is killed (SIGKILL, loading processes included) and started again with the same command about
--kills-a-run times until it ends, then compared: weights, centroids, selections and label maps bit
for bit, scores and matching as text; no temporary file may be left. Then another run begins, until
there were enough kills or --minutes are over. Its table and `kills.json` say what each kill hit.

Without --small the recipe is run as it is, which takes minutes a run.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.killable_tools import start_tool
from tests.left_over import left_over
from tests.small_recipe import OPTIONS, TRAIN, next_log

PDSO_OPTIONS = dict(
    dff_f_epochs=1,
    dff_f_batch_size=16,
    dff_epochs=2,
    dff_batch_size=8,
    sigma=0.3,
    finetune_epochs=1,
)
# What a line of the log says of the step that has just begun or gone on, the newest first.
STEPS = (
    (r'Epoch\(train\)', 'training'),
    (r'Epoch\(val\)', 'validation'),
    (r'k-means', 'k-means'),
    (r'features: ', 'features'),
    (r'classifier scores', 'image scores'),
    (r'pixel labels', 'label maps'),
    (r'image check', 'image check'),
    (r'Saving checkpoint', 'checkpoint'),
    (r'finished: ', 'closing lines and report'),
)
STARTING = 'start'
IGNORED = {'manifest.json', 'outputs.json', 'config.py', 'recipe.json'}  # times and paths in them
COMPARED = (
    '*.npy',
    '*.png',
    '*.pth',
    'metrics.json',
    'scores.json',
    'match.json',
    'threshold.json',
    'images.txt',
)


def main():
    """Kill, restart, compare, print."""
    arguments = parse_arguments()
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # before the server starts that imports torch
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    reference = out / 'uninterrupted'
    run, seconds = uninterrupted(reference, arguments)
    print(f'uninterrupted: {seconds:.0f} s', flush=True)
    kills, runs = kill_and_compare(out, reference, seconds, arguments)
    report = dict(
        recipe=arguments.recipe,
        small=arguments.small,
        seed=arguments.seed,
        uninterrupted_seconds=round(seconds, 1),
        starts=len(kills) + len(runs),
        kills=kills,
        runs=runs,
    )
    (out / 'kills.json').write_text(json.dumps(report, indent=2))
    print_table(kills, runs)
    return int(any(run['different'] for run in runs))


def parse_arguments():
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--recipe', default='configs/luss/pass_tiny.py')
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--kills-a-run', type=int, default=6)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--small', action='store_true', help='a recipe of seconds')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='begin no run later')
    parser.add_argument('--out', required=True)
    return parser.parse_args()


def command(work_dir, arguments):
    """What follows tools/train.py."""
    options = OPTIONS | (PDSO_OPTIONS if 'pdso' in arguments.recipe else {})
    options = options if arguments.small else dict(num_workers=1, log_level='DEBUG')
    pairs = [f'{key}={value}' for key, value in options.items()]
    return [arguments.recipe, '--work-dir', str(work_dir), '--cfg-options', *pairs]


def start(work_dir, arguments):
    """Start a run in a process that has imported everything."""
    return start_tool(TRAIN, *command(work_dir, arguments), log=next_log(work_dir), quick=False)


def uninterrupted(work_dir, arguments):
    """A run from start to end, and its seconds."""
    start(work_dir.with_name('warming-up'), arguments).kill()  # starts the server that imports
    begun = time.monotonic()
    run = start(work_dir, arguments)
    assert run.wait(24 * 3600) == 0, run.output[-3000:]
    return run, time.monotonic() - begun


def kill_and_compare(out, reference, seconds, arguments):
    """All kills and all finished runs, a dict each."""
    generator = np.random.default_rng(arguments.seed)
    expected = contents(reference)
    kills, runs = [], []
    begun = time.monotonic()
    while len(kills) < arguments.kills and time.monotonic() - begun < 60 * arguments.minutes:
        work_dir = out / f'killed-{len(runs)}'
        kills_before = len(kills)
        mean = seconds / arguments.kills_a_run
        while True:
            run = start(work_dir, arguments)
            last = len(kills) >= arguments.kills
            moment = 24 * 3600 if last else generator.uniform(0, 2 * mean)
            if run.ends_within(moment):
                break
            run.kill()
            # A step that takes longer than all waiting so far would be begun for ever.
            mean *= 1.1
            kills.append(dict(run=len(runs), after=round(moment, 2), **where(run.output)))
            print(f'kill {len(kills)}: {kills[-1]}', flush=True)
        assert run.wait() == 0, run.output[-3000:]
        found = contents(work_dir)
        different = left_over(work_dir) + sorted(
            name for name in expected.keys() | found.keys() if not same(expected, found, name)
        )
        runs.append(
            dict(kills=len(kills) - kills_before, compared=len(expected), different=different)
        )
        print(f'run {len(runs) - 1}: {runs[-1]}', flush=True)
        leave_no_copy(work_dir, different)
    return kills, runs


def where(output):
    """Stage and step that a log ends in."""
    stage, step = STARTING, STARTING
    for line in output.splitlines():
        if found := re.search(r' - stage \d+/\d+: (\w+)', line):
            stage, step = found[1], 'beginning'
        for pattern, name in STEPS:
            if re.search(pattern, line):
                step = name
                break
    return dict(stage=stage, step=step)


def contents(work_dir):
    """Relative paths of what counts to arrays, bytes or state dicts."""
    paths = {path for pattern in COMPARED for path in work_dir.rglob(pattern)}
    return {
        str(path.relative_to(work_dir)): path
        for path in sorted(paths)
        if not is_passed_by(path.relative_to(work_dir)) and path.name not in IGNORED
    }


def is_passed_by(path):
    """Whether a file is a picture or a checkpoint before the last."""
    if any(part in ('pictures', 'report') for part in path.parts):
        return True
    return path.suffix == '.pth' and path.name != 'final.pth'


def same(expected, found, name):
    """Whether a file is there in both and holds the same."""
    if name not in expected or name not in found:
        return False
    first, second = expected[name], found[name]
    if first.suffix != '.pth':
        return first.read_bytes() == second.read_bytes()
    ours, theirs = (
        torch.load(path, map_location='cpu', weights_only=False)['state_dict']
        for path in (first, second)
    )
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def leave_no_copy(work_dir, different):
    """Runs that ended as they should are deleted; others are kept to look at."""
    if not different:
        shutil.rmtree(work_dir)


def print_table(kills, runs):
    """Kills by stage and step, and how the runs ended."""
    print('\n| stage | step | kills survived |\n|---|---|---|')
    right = {number for number, run in enumerate(runs) if not run['different']}
    counts = Counter((kill['stage'], kill['step']) for kill in kills if kill['run'] in right)
    for (stage, step), count in counts.items():
        print(f'| {stage} | {step} | {count} |')
    compared = sum(run['compared'] for run in runs)
    print(
        f'\n{len(kills)} kills in {len(runs)} runs, {len(runs) - len(right)} runs ended '
        f'differently; {compared} files compared'
    )


if __name__ == '__main__':
    raise SystemExit(main())
