"""Which checkpoint is taken, what must fit, and how one is written."""

import os

import pytest
import torch
from torch import nn

from luss_mm.checkpoints.loading import (
    AtomicLocalBackend,
    CheckpointError,
    find_newest_checkpoint,
    load_weights,
)
from tests.engine.tiny_training import make_runner


def test_newest_checkpoint_that_loads(tmp_path):
    assert find_newest_checkpoint(tmp_path) is None
    assert find_newest_checkpoint(tmp_path / 'gone') is None
    for name in ('epoch_2', 'epoch_9', 'epoch_10', 'best_score_epoch_11', 'final', 'epoch_x'):
        torch.save(dict(state_dict=dict(a=torch.ones(100))), tmp_path / f'{name}.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_12.pth')
    assert find_newest_checkpoint(tmp_path) == tmp_path / 'epoch_10.pth'
    newest = tmp_path / 'epoch_10.pth'
    newest.write_bytes(newest.read_bytes()[:-200])
    assert find_newest_checkpoint(tmp_path) == tmp_path / 'epoch_9.pth'
    (tmp_path / 'epoch_9.pth').write_text('garbage')
    assert find_newest_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'
    (tmp_path / 'epoch_2.pth').unlink()
    assert find_newest_checkpoint(tmp_path) is None


def test_newest_checkpoint_by_iterations(tmp_path):
    for name in ('iter_900', 'iter_1000'):
        torch.save({}, tmp_path / f'{name}.pth')
    assert find_newest_checkpoint(tmp_path).name == 'iter_1000.pth'


def test_weights_must_fit_exactly(tmp_path):
    path = tmp_path / 'a.pth'
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(dict(state_dict=source.state_dict()), path)
    load_weights(target, path)
    assert torch.equal(source.weight, target.weight)
    for model in (nn.Linear(3, 2, bias=False), nn.Linear(4, 2), nn.Bilinear(3, 3, 2)):
        with pytest.raises(CheckpointError, match='a.pth: does not fit the model'):
            load_weights(model, path)
    torch.save(dict(model=1, meta=2), path)
    with pytest.raises(CheckpointError, match='a.pth: has no state_dict, only model, meta'):
        load_weights(target, path)


@pytest.mark.parametrize('fails', ['replace', 'fsync'])
def test_no_partial_file_is_left(tmp_path, monkeypatch, fails):
    backend = AtomicLocalBackend()
    path = tmp_path / 'new' / 'epoch_1.pth'
    backend.put(b'first', str(path))
    backend.put_text('grün', str(tmp_path / 'text.txt'))
    assert path.read_bytes() == b'first' and (tmp_path / 'text.txt').read_text('utf-8') == 'grün'

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, fails, interrupted)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'second', str(path))
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'second', str(tmp_path / 'new' / 'epoch_2.pth'))
    assert [p.name for p in path.parent.iterdir()] == ['epoch_1.pth']
    assert path.read_bytes() == b'first'


def test_a_training_interrupted_while_saving_keeps_a_whole_checkpoint(tmp_path, monkeypatch):
    replace = os.replace

    def interrupted_at_second(source, target):
        if str(target).endswith('epoch_2.pth'):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, 'replace', interrupted_at_second)
    with pytest.raises(KeyboardInterrupt):
        make_runner(tmp_path).train()
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['epoch_1.pth']
    assert not list(tmp_path.glob('.*'))
    assert find_newest_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
