"""SIGTERM to a whole run, as `kill` or Slurm sends it, and a second run in the same directory."""

import os
import re
import signal
import time

import pytest

from luss_mm.work_dir.stop_request import EXIT_STATUS
from tests.killable_tools import SECONDS
from tests.left_over import left_over
from tests.small_recipe import assert_same_run, finished_run, start_training, train

# What has to be in the work directory when the signal comes.
MOMENTS = (
    'pretrain.partial-*/epoch_1.pth',
    'features.partial-*/.shard-000001.npz',
    'pseudo_labels.partial-*/.finished-shards/1.json',
    'finetune.partial-*/epoch_1.pth',
)


def stop_when_exists(run, directory, pattern):
    end = time.monotonic() + SECONDS
    while not list(directory.glob(pattern)):
        assert not run.ends_within(0.002), f'over before {pattern}:\n{run.output[-3000:]}'
        assert time.monotonic() < end, f'no {pattern}'
    os.kill(run.process.pid, signal.SIGTERM)


@pytest.mark.slow
def test_stopped_in_every_kind_of_step_and_restarted(tmp_path):
    work_dir = tmp_path / 'stopped'
    for moment in MOMENTS:
        run = start_training(work_dir)
        stop_when_exists(run, work_dir, moment)
        assert run.wait() == EXIT_STATUS, run.output[-3000:]
        assert 'Traceback' not in run.output
        assert run.output.count('stopped by SIGTERM: ') == 1
        assert not [path for path in left_over(work_dir) if '.tmp' in path], moment
    train(work_dir)
    assert_same_run(finished_run(), work_dir)


def test_a_second_run_in_one_directory_is_refused(tmp_path):
    work_dir = tmp_path / 'run'
    first = start_training(work_dir)
    while not (work_dir / 'recipe.json').exists():
        assert not first.ends_within(0.05), first.output[-3000:]
    second = start_training(work_dir)
    assert second.wait() == 1
    last = second.output.strip().splitlines()[-1]
    place = re.escape(f'error: {work_dir}')
    expected = rf'{place}: process {first.process.pid} on \S+, started .* works'
    assert re.match(expected, last) and 'set another --work-dir' in last
    first.kill()
