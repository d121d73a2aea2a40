import json
import multiprocessing
import os
import re
import signal
import socket
import time

import pytest

from luss_mm.engine.expected_errors import explain_stop
from luss_mm.work_dir import lock as work_dir_lock
from luss_mm.work_dir.lock import LOCK, WorkDirInUseError, locked_work_dir
from tests.two_ranks import run_on_two_ranks

SECONDS = 60
_fork = multiprocessing.get_context('fork')


def hold(work_dir, connection):
    with locked_work_dir(work_dir):
        connection.send('held')
        time.sleep(SECONDS)


def start_holder(work_dir):
    ours, theirs = _fork.Pipe()
    process = _fork.Process(target=hold, args=(work_dir, theirs))
    process.start()
    assert ours.poll(SECONDS) and ours.recv() == 'held'
    return process


def end(process):
    process.kill()
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def holder(tmp_path):
    process = start_holder(tmp_path / 'run')
    yield process
    end(process)


def test_the_second_run_refuses_and_names_the_first(tmp_path, holder):
    with pytest.raises(WorkDirInUseError) as error, locked_work_dir(tmp_path / 'run'):
        pytest.fail('went in')
    line = explain_stop(error.value)
    assert line == str(error.value) and '\n' not in line
    assert re.search(
        rf'/run: process {holder.pid} on {re.escape(socket.gethostname())}, started '
        r'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}, works there\. Wait for it, end it, or set',
        line,
    )


def test_a_killed_run_leaves_no_lock(tmp_path, holder):
    end(holder)
    with locked_work_dir(tmp_path / 'run'):
        held_by = json.loads((tmp_path / 'run' / LOCK).read_text())
    assert held_by['pid'] == os.getpid() and held_by['host'] == socket.gethostname()


def test_processes_that_a_killed_run_leaves_behind_hold_nothing(tmp_path):
    """As loading processes do for some seconds."""

    def leave_a_child(connection):
        with locked_work_dir(tmp_path / 'run'):
            if os.fork() == 0:
                connection.send(os.getpid())
                time.sleep(SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)

    ours, theirs = _fork.Pipe()
    process = _fork.Process(target=leave_a_child, args=(theirs,))
    process.start()
    child = ours.recv()
    os.waitpid(process.pid, 0)  # `join` would wait for the child too, which holds a pipe of it
    try:
        os.kill(child, 0)  # it is alive
        with locked_work_dir(tmp_path / 'run'):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(work_dir_lock, 'print_log', lambda text, logger: said.append(text))

    def refuse(*_):
        raise OSError(work_dir_lock.errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(work_dir_lock.fcntl, 'lockf', refuse)
    with locked_work_dir(tmp_path / 'run'):
        pass
    assert len(said) == 1 and 'this file system has no locks' in said[0]


def lock_on_a_rank(rank, work_dir):
    try:
        with locked_work_dir(work_dir):
            return 'in'
    except WorkDirInUseError as error:
        return str(error)


def test_two_ranks_share_the_lock(tmp_path):
    assert run_on_two_ranks(lock_on_a_rank, str(tmp_path / 'free')) == ['in', 'in']
    process = start_holder(tmp_path / 'held')
    try:
        first, second = run_on_two_ranks(lock_on_a_rank, str(tmp_path / 'held'))
    finally:
        end(process)
    assert first == second and f'process {process.pid} on ' in first
