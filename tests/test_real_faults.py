"""Faults of the machine, made by the kernel and not by a patched function: one line, then on.

A file system of its own, small or read-only or for shared memory, needs a mount namespace; where
the kernel grants none, those tests are skipped.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.killable_tools import SECONDS, _descendants, run_command, start_command
from tests.small_recipe import TRAIN, assert_same_run, finished_run, train_arguments

NAMESPACE = ('unshare', '--map-root-user', '--mount')
GOES_ON = 'The same command then goes on where the run stopped.'


@pytest.fixture(scope='module')
def namespace():
    """Command that runs another one where file systems can be mounted."""
    probe = 'mount -t tmpfs none /mnt'
    if (
        shutil.which('unshare') is None
        or subprocess.run(
            [*NAMESPACE, 'sh', '-c', probe], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip('the kernel grants no mount namespace')
    return NAMESPACE


def shell(*steps):
    """Steps of which each runs whatever the one before it did."""
    return 'sh', '-c', '\n'.join(steps)


def training(work_dir, log):
    """Shell line that runs the small recipe; its status goes into the log's last line."""
    command = ' '.join([sys.executable, TRAIN, *map(str, train_arguments(work_dir))])
    return f'{command} > {log} 2>&1; echo "status $?" >> {log}'


def stopped_with(log, expected):
    """The one line that a run ended with, after checking its status."""
    text = log.read_text()
    *_, last, status = text.strip().splitlines()
    assert status == 'status 1', text[-3000:]
    assert expected in last and last.endswith(GOES_ON), last
    # Python shows what torch's loader meets in its destructor, which is no error of the run.
    assert text.count('Traceback') == text.count('Exception ignored in'), text
    return last


@pytest.mark.parametrize(
    'moment',
    [
        pytest.param('pretrain.partial-*/epoch_1.pth', marks=pytest.mark.slow),
        pytest.param('features.partial-*/.shard-000001.npz', marks=pytest.mark.slow),
        'pseudo_labels.partial-*/.finished-shards/1.json',
        pytest.param('finetune.partial-*/epoch_1.pth', marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_fills_up(namespace, tmp_path, moment):
    disk = tmp_path / 'disk'
    disk.mkdir()
    work_dir, first, second = disk / 'run', tmp_path / 'first.log', tmp_path / 'second.log'
    steps = shell(
        f'mount -t tmpfs -o size=64m none {disk}',
        f'( while ! ls {work_dir}/{moment} > /dev/null 2>&1; do sleep .005; done',
        f'head -c 64m /dev/zero > {disk}/filler 2> /dev/null ) &',
        training(work_dir, first),
        f'rm {disk}/filler',
        training(work_dir, second),
        f'cp -a {work_dir} {tmp_path}/copy',
    )
    run_command(*namespace, *steps, log=tmp_path / 'log')
    assert str(work_dir) in stopped_with(first, 'No space left on device')
    assert 'status 0' in second.read_text(), second.read_text()[-3000:]
    assert_same_run(finished_run(), tmp_path / 'copy')


def test_a_disk_that_is_too_small_is_said_before_training(namespace, tmp_path):
    disk, log = tmp_path / 'disk', tmp_path / 'train.log'
    disk.mkdir()
    steps = shell(f'mount -t tmpfs -o size=2m none {disk}', training(disk / 'run', log))
    run_command(*namespace, *steps, log=tmp_path / 'log')
    assert re.search(r'writes about \d+ MB, and \d MB are free', log.read_text())
    assert 'Epoch(train)' not in log.read_text()


def test_read_only_disk(namespace, tmp_path):
    disk, log = tmp_path / 'disk', tmp_path / 'train.log'
    disk.mkdir()
    steps = shell(f'mount -t tmpfs -o ro none {disk}', training(disk / 'run', log))
    run_command(*namespace, *steps, log=tmp_path / 'log')
    assert str(disk) in stopped_with(log, 'Read-only file system')


@pytest.mark.slow
def test_no_space_in_shared_memory(namespace, tmp_path):
    work_dir, first = tmp_path / 'run', tmp_path / 'first.log'
    steps = shell('mount -t tmpfs -o size=16k none /dev/shm', training(work_dir, first))
    run_command(*namespace, *steps, log=tmp_path / 'log')
    stopped_with(first, 'no space in shared memory (/dev/shm)')
    run_command(*shell(training(work_dir, tmp_path / 'second.log')), log=tmp_path / 'log')
    assert_same_run(finished_run(), work_dir)


def test_killed_loading_process(tmp_path):
    work_dir = tmp_path / 'run'
    command = [sys.executable, TRAIN, *train_arguments(work_dir)]
    run = start_command(*command, log=tmp_path / 'first.log')
    wait_for(work_dir, 'pretrain.partial-*/epoch_1.pth', run)
    kill_children(run.process.pid)
    assert run.wait() == 1, run.output[-3000:]
    last = run.output.strip().splitlines()[-1]
    assert last.startswith('error: a loading process was killed') and last.endswith(GOES_ON), last
    run_command(*command, log=tmp_path / 'second.log')
    assert_same_run(finished_run(), work_dir)


def wait_for(work_dir, pattern, run):
    end = time.monotonic() + SECONDS
    while not list(Path(work_dir).glob(pattern)):
        assert not run.ends_within(0.005) and time.monotonic() < end, run.output[-3000:]


def kill_children(pid):
    """As the kernel does when memory runs out, until there was one to kill."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if children := _descendants(pid):
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            return
        time.sleep(0.01)
    raise TimeoutError('no loading process')
