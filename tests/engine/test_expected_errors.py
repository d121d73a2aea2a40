"""Whatever ends a run for reasons outside of the program is told in one line."""

import errno
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from luss_mm.checkpoints.loading import find_newest_checkpoint
from luss_mm.datasets.image_file import ImageFileError
from luss_mm.engine.expected_errors import explain_stop, one_line_stops
from luss_mm.engine.hooks.safeguards import FiniteLossHook, InfiniteLossError
from luss_mm.evaluation.cluster_names import read_names
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.recipes.settings import SettingsError
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.atomic_files import write_array, write_atomically
from tests.engine.tiny_training import TinyModel, make_runner

STOPS = {
    'setting': (SettingsError('no such setting'), 'no such setting'),
    'image': (ImageFileError('a.jpg: empty.', 'empty'), 'a.jpg: empty.'),
    'full disk': (
        OSError(errno.ENOSPC, 'No space left on device', '/run/a.npy'),
        '/run/a.npy: No space left on device. Free some space. The same command then goes on',
    ),
    'read-only disk': (
        OSError(errno.EROFS, '', '/run'),
        '/run: Read-only file system. Set another',
    ),
    'no permission': (PermissionError(errno.EACCES, '', '/data/a'), '/data/a: Permission denied. '),
    'open files': (OSError(errno.EMFILE, '', '/a'), 'Raise the limit of open files (ulimit -n)'),
    'shared memory, worker': (
        RuntimeError(
            'DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that '
            "dataloader's workers are out of shared memory."
        ),
        'no space in shared memory (/dev/shm)',
    ),
    'shared memory, file': (
        RuntimeError('unable to write to file </torch_12_34_5>: No space left on device (28)'),
        'no space in shared memory (/dev/shm)',
    ),
    'killed worker': (
        RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '),
        'a loading process was killed',
    ),
    'lost workers': (
        RuntimeError('DataLoader worker (pid(s) 7, 12) exited unexpectedly'),
        'set a smaller num_workers',
    ),
    'missing file': (
        FileNotFoundError(errno.ENOENT, '', '/nowhere/x'),
        '/nowhere/x: No such file or directory. Name one that is there.',
    ),
    'folder for a file': (IsADirectoryError(errno.EISDIR, '', '/tmp'), '/tmp: Is a directory. '),
    'unregistered type': (
        KeyError('PASS is not in the mmseg::model registry. Please check whether ...'),
        "type='PASS': not in the mmseg::model registry. Fix the type in the config.",
    ),
    'fault without a file': (OSError(errno.EINVAL, 'Invalid argument'), None),
    'fault of the program': (RuntimeError('mat1 and mat2 shapes cannot be multiplied'), None),
    'key': (KeyError('x'), None),
}


@pytest.mark.parametrize('name', STOPS)
def test_one_line(name):
    error, expected = STOPS[name]
    shown = explain_stop(error)
    if expected is None:
        assert shown is None
    else:
        assert expected in shown and '\n' not in shown


def test_what_we_raise_on_purpose_is_told_and_faults_are_not():
    for ours in (
        lambda: read_names(__file__),  # its message comes from a `raise` of this package
        lambda: fit_kmeans(np.zeros((2, 3), np.float32), 5),
    ):
        with pytest.raises(ValueError) as error:
            ours()
        assert explain_stop(error.value) == str(error.value)
    for fault in (
        lambda: read_names(3.5),
        lambda: fit_kmeans(None, 5),
        lambda: int('x'),
    ):
        with pytest.raises((AttributeError, TypeError, ValueError)) as error:
            fault()
        assert explain_stop(error.value) is None


def test_a_process_of_a_pool_tells_as_much():
    with ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool:
        with pytest.raises(ValueError, match='not JSON') as error:
            pool.submit(read_names, __file__).result()
        assert explain_stop(error.value) == str(error.value)
        with pytest.raises(TypeError) as error:
            pool.submit(read_names, 3.5).result()
        assert explain_stop(error.value) is None


def test_a_program_ends_with_the_line(monkeypatch, tmp_path):
    @one_line_stops(tmp_path)
    def main(error):
        raise error

    with pytest.raises(SystemExit) as stop:
        main(SettingsError('one\n  line'))
    assert stop.value.code == 'error: one line'
    with pytest.raises(SystemExit, match=str(tmp_path)):
        main(OSError(errno.ENOSPC, ''))
    with pytest.raises(ZeroDivisionError):
        main(ZeroDivisionError())
    with pytest.raises(SystemExit) as stop:
        main(KeyboardInterrupt())
    assert stop.value.code == 130 and stop.value.__suppress_context__
    monkeypatch.setenv('LUSS_MM_TRACEBACK', '1')
    with pytest.raises(SettingsError):
        main(SettingsError('whole'))


def test_a_failed_write_that_names_no_file_names_the_disk(tmp_path):
    failed = OSError(errno.ENOSPC, 'No space left on device')
    assert explain_stop(failed, tmp_path).startswith(f'{tmp_path}: No space left on device. ')


class OneBadImage(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ImageFileError('a.jpg: truncated after 7 bytes. Delete or replace it.', 'truncated')


def test_one_line_from_a_worker():
    with pytest.raises(ImageFileError) as error:
        next(iter(DataLoader(OneBadImage(), num_workers=1)))
    assert explain_stop(error.value) == 'a.jpg: truncated after 7 bytes. Delete or replace it.'


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, number):
    path = tmp_path / 'a.npy'
    write_array(path, np.zeros(3))

    def fail(descriptor):
        raise OSError(number, os.strerror(number))  # as a write does: without a name

    monkeypatch.setattr(os, 'fsync', fail)
    for write in (
        lambda: write_array(path, np.ones(3)),
        lambda: write_atomically(path, b'new'),
    ):
        with pytest.raises(OSError) as error:
            write()
        assert explain_stop(error.value).startswith(f'{path}: {os.strerror(number)}. ')
    assert [p.name for p in tmp_path.iterdir()] == ['a.npy'] and (np.load(path) == 0).all()


def test_a_clock_that_goes_back(tmp_path, monkeypatch):
    """Nothing is decided by times; the newest checkpoint is the one of the last epoch."""
    made = []
    produce(tmp_path / 'out', lambda folder: made.append(1), dict(a=1), {})
    monkeypatch.setattr(time, 'time', lambda: 0.0)
    produce(tmp_path / 'out', lambda folder: made.append(2), dict(a=1), {})
    assert made == [1]
    for epoch, moment in ((1, 2e9), (2, 1e9)):
        torch.save(dict(state_dict={}), tmp_path / f'epoch_{epoch}.pth')
        os.utime(tmp_path / f'epoch_{epoch}.pth', (moment, moment))
    assert find_newest_checkpoint(tmp_path).name == 'epoch_2.pth'


class BreakingModel(TinyModel):
    """Its loss is no number in the second epoch."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, inputs, mode='tensor'):
        losses = super().forward(inputs, mode)
        bad = len(self.drawn) == 4
        return dict(loss=losses['loss'] + (self.value if bad else 0), share=torch.tensor(np.nan))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path, value):
    runner = make_runner(tmp_path, FiniteLossHook(), model=BreakingModel(value))
    with pytest.raises(InfiniteLossError) as error:
        runner.train()
    shown = explain_stop(error.value)
    assert shown.startswith(f'iteration 4 of epoch 2: loss {value:g}.') and '\n' not in shown
    assert find_newest_checkpoint(tmp_path).name == 'epoch_1.pth'
