"""Two gloo processes that serve all tests, since starting one and importing torch costs seconds."""

import pickle
import tempfile
import traceback
from datetime import timedelta
from itertools import count
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing

import luss_mm  # noqa: F401  the processes import this module: our classes register on use

SECONDS = 300  # for one call, imports included

_running = []  # (process, connection) of both ranks, empty before the first call
_directory = tempfile.TemporaryDirectory()
_groups = count()


def run_on_two_ranks(function, *arguments):
    """Call `function(rank, *arguments)` on two ranks of a process group.

    Args:
        function: Of a module, so that the processes can import it.
        *arguments: Picklable.

    Returns:
        What rank 0 and what rank 1 returned.

    Raises:
        RuntimeError: If a rank raised an error or gave no answer in time.
    """
    if not _running:
        _start()
    for _, connection in _running:
        connection.send_bytes(pickle.dumps((function, arguments)))
    answers = [_receive(rank, connection) for rank, (_, connection) in enumerate(_running)]
    errors = [error for _, error in answers if error]
    if errors:
        _stop()  # the other rank may wait for ever
        raise RuntimeError('\n'.join(errors))
    return [result for result, _ in answers]


def _start():
    context = multiprocessing.get_context('spawn')
    rendezvous = Path(_directory.name) / str(next(_groups))
    for rank in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(rank, rendezvous, theirs), daemon=True)
        process.start()
        theirs.close()
        _running.append((process, ours))


def _stop():
    for process, _ in _running:
        process.terminate()
    _running.clear()


def _receive(rank, connection):
    try:
        if connection.poll(SECONDS):
            return pickle.loads(connection.recv_bytes())
    except EOFError:
        return None, f'rank {rank} died'
    return None, f'rank {rank} gave no answer in {SECONDS} s'


def _serve(rank, rendezvous, connection):
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{rendezvous}',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=SECONDS),
    )
    while True:
        try:
            function, arguments = pickle.loads(connection.recv_bytes())
        except EOFError:  # the tests are over
            return
        try:
            answer = function(rank, *arguments), None
        except Exception:
            answer = None, f'rank {rank}: {traceback.format_exc()}'
        connection.send_bytes(pickle.dumps(answer))
