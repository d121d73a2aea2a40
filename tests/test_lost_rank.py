"""One of two ranks is killed: the other ends soon with a clear error, and a restart goes on."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from luss_mm.engine.expected_errors import explain_stop
from luss_mm.engine.processes import LONGEST_STEP
from tests.killable_tools import _descendants, run_command, start_command
from tests.small_recipe import next_log, train_arguments, trainings
from tests.test_runs_on_two_ranks import TRAIN_ON_RANKS, free_port

SECONDS = 60  # promised; torchrun gives a rank 30 s after SIGTERM
STEPS = {'all_reduce': lambda: dist.all_reduce(torch.ones(3)), 'barrier': dist.barrier}


def lose_the_other(rank, rendezvous, step, answers):
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{rendezvous}',
        rank=rank,
        world_size=2,
        timeout=LONGEST_STEP,
    )
    STEPS[step]()
    if rank == 1:
        time.sleep(0.5)  # the other waits in the step by then
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        STEPS[step]()
    except RuntimeError as error:
        answers.put((str(error), explain_stop(error)))


@pytest.mark.parametrize('step', STEPS)
def test_a_rank_that_waits_for_a_lost_one_ends_at_once(tmp_path, step):
    """Not after the time that a step may take, which is days."""
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    arguments = tmp_path / 'rendezvous', step, answers
    ranks = [
        context.Process(target=lose_the_other, args=(rank, *arguments), daemon=True)
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    error, shown = answers.get(timeout=SECONDS)
    assert shown is not None, error
    assert shown.startswith('another process of this run has ended') and '\n' not in shown
    for process in ranks:
        process.join(SECONDS)
    assert ranks[1].exitcode == -signal.SIGKILL and ranks[0].exitcode == 0


def ranks_of(launch):
    """Process ids of the ranks that torchrun has started, by rank."""
    found = {}
    for pid in _descendants(launch.process.pid):
        environment = Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
        numbers = [entry[5:] for entry in environment if entry.startswith(b'RANK=')]
        if numbers:
            found.setdefault(int(numbers[0]), pid)  # loading processes come later
    return found


@pytest.mark.slow
@pytest.mark.parametrize('lost', [0, 1])
def test_a_run_that_loses_a_rank_ends_and_goes_on(tmp_path, lost):
    work_dir = tmp_path / 'run'
    stages = {'batch_size': 8, 'finetune_batch_size': 8, 'stage_order': 'data,pretrain'}
    recipe, *arguments = train_arguments(work_dir, **stages)
    command = ['bash', TRAIN_ON_RANKS, recipe, 2, *arguments]
    run = start_command(*command, log=next_log(work_dir), PORT=free_port())
    while not list(work_dir.glob('pretrain.partial-*/epoch_1.pth')):
        assert not run.ends_within(0.05), run.output[-3000:]
    os.kill(ranks_of(run)[lost], signal.SIGKILL)
    if not run.ends_within(SECONDS):
        run.kill()
        pytest.fail(run.output[-3000:])
    assert run.wait() == 1
    # Who is faster speaks: the rank that waited, or torchrun, which names the lost one.
    said = (
        'another process of this run has ended',
        'stopped by SIGTERM',
        'Signal 9 (SIGKILL) received',
    )
    assert any(line in run.output for line in said)
    log = next_log(work_dir)
    output = run_command(*command, log=log, PORT=free_port())
    assert trainings(output)[0] == ('pretrain', 2) and 'finished: ' in output
