"""SIGTERM saves what it can; the same run again ends as if nothing had happened."""

import multiprocessing
import os
import signal

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import Dataset

from luss_mm.checkpoints.loading import find_newest_checkpoint
from luss_mm.engine.hooks import EpochSeedHook, StopRequestHook
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.work_dir import stop_request
from luss_mm.work_dir.artifact import FinishedShards
from luss_mm.work_dir.stop_request import (
    EXIT_STATUS,
    finishing_before_interrupt,
    stop_if_asked,
    stopping_on_sigterm,
)
from tests.datasets.semi_layout import semi_config, write_split
from tests.engine import test_epoch_seed as iterations
from tests.engine import tiny_training as epochs

SECONDS = 240
_fork = multiprocessing.get_context('fork')


class Slurm(Hook):
    """Sends SIGTERM during an iteration, counted from 0."""

    priority = 'VERY_HIGH'

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


def semi_data(root):
    root.mkdir()
    crop = [dict(type='RandomCrop', crop_size=(12, 12), ignore_index=1000)]
    return semi_config(root, write_split(root), dict(labelled=crop), dict(weak=crop))


def train(folder, kind, data, *hooks):
    """Train, or go on, as StagedRunner does; saves what the model drew and its weights."""
    newest = find_newest_checkpoint(folder)
    settings = dict(resume=newest is not None, load_from=newest and str(newest))
    hooks = (EpochSeedHook(), StopRequestHook(), *hooks)
    if kind == 'iterations':
        runner = iterations.make_runner(folder, data, *hooks, **settings)
        assert isinstance(runner.train_loop, IterBasedTrainLoop)
    else:
        runner = epochs.make_runner(folder, *hooks, epochs=6, **settings)
    runner.train()
    torch.save((runner.model.drawn, runner.model.state_dict()), folder / 'end.pt')


def stopped_at(iteration, folder, kind, data):
    """Train in a process of its own, which gets SIGTERM; its exit status and what it said."""

    def run():
        log = os.open(folder.with_suffix('.log'), os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        with stopping_on_sigterm():
            train(folder, kind, data, Slurm(iteration))

    process = _fork.Process(target=run)
    process.start()
    process.join(SECONDS)
    return process.exitcode, folder.with_suffix('.log').read_text()


@pytest.mark.parametrize(
    'kind, iteration, kept',
    [
        # Checkpoints come after every second iteration or epoch, an epoch has two iterations.
        ('iterations', 2, 'iter_3.pth'),
        ('epochs', 6, 'epoch_3.pth'),
        ('epochs', 7, 'epoch_4.pth'),
    ],
)
def test_a_training_goes_on_where_it_was_stopped(tmp_path, kind, iteration, kept):
    whole, stopped = tmp_path / 'whole', tmp_path / 'stopped'
    data = semi_data(tmp_path / 'data') if kind == 'iterations' else None
    whole.mkdir()
    train(whole, kind, data)
    status, said = stopped_at(iteration, stopped, kind, data)
    assert status == EXIT_STATUS == 143, said
    assert 'SIGTERM: stops after this iteration' in said and 'Traceback' not in said
    assert find_newest_checkpoint(stopped).name == kept and not (stopped / 'end.pt').exists()
    train(stopped, kind, data)
    drawn, weights = torch.load(whole / 'end.pt')
    drawn_since, same_weights = torch.load(stopped / 'end.pt')
    assert drawn_since == drawn[-len(drawn_since) :]
    for name, value in weights.items():
        assert torch.equal(value, same_weights[name]), name


def test_what_is_kept_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(stop_request, 'print_log', lambda text, logger: said.append(text))
    with pytest.raises(SystemExit), stopping_on_sigterm():
        train(tmp_path / 'stopped', 'epochs', None, Slurm(4))
    (line,) = said
    assert line.startswith('stopped by SIGTERM: what epoch 3 has done is lost, ')
    assert line.endswith('epoch_2.pth. The same command goes on from there.')


class Numbers(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(3, 2, 2), index=index, ori_shape=(2, 2))


def test_a_step_between_trainings_finishes_its_shard(tmp_path, capfd):
    with pytest.raises(SystemExit) as end, stopping_on_sigterm():
        finished = FinishedShards(tmp_path)
        sharded = ShardedBatches(Numbers(), 2, shard_size=4)
        for shard, batches in sharded.iterate(finished, 'features'):
            for number, _ in enumerate(batches):
                if shard == 1 and number == 0:
                    os.kill(os.getpid(), signal.SIGTERM)
            finished.add(shard)
    assert end.value.code == EXIT_STATUS
    assert [shard in finished for shard in range(3)] == [True, True, False]
    assert 'SIGTERM: stops after this iteration' in capfd.readouterr().err


def test_an_error_that_the_signal_caused_ends_the_run_alike():
    with pytest.raises(SystemExit) as end, stopping_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError('DataLoader worker (pid 7) exited unexpectedly')
    assert end.value.code == EXIT_STATUS


def test_without_a_signal_nothing_changes():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGCHLD)
    with pytest.raises(KeyError), stopping_on_sigterm():
        stop_if_asked('nothing')
        raise KeyError
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGCHLD)) == before
    assert not stop_request.stop_asked()


def test_a_second_signal_ends_the_process_at_once():
    pid = os.fork()
    if pid == 0:
        with stopping_on_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM


def test_ctrl_c_waits_until_a_checkpoint_is_written():
    # A shell's background jobs ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    written = False
    try:
        with pytest.raises(KeyboardInterrupt), finishing_before_interrupt():
            signal.raise_signal(signal.SIGINT)
            written = True
        assert written and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
