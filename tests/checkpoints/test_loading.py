import functools
import http.server
import os
import pickle
import random
import subprocess
import sys
import threading
import zipfile
from pathlib import Path, PosixPath, PureWindowsPath, WindowsPath

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import nn

from luss_mm.checkpoints import loading as ours
from luss_mm.checkpoints.loading import (
    CheckpointError,
    find_newest_checkpoint,
    load_checkpoint,
    load_weights,
)
from tests.engine.tiny_training import TinyModel, make_runner


class Payload:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


class Call:
    """A pickle that calls a function."""

    def __init__(self, function, *arguments):
        self.function = function
        self.arguments = arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def marker(tmp_path):
    """Written by the malicious checkpoint if anybody loads it."""
    return tmp_path / 'executed'


@pytest.fixture
def malicious(tmp_path, marker):
    content = dict(TinyModel().state_dict(), extra=Payload(marker))
    torch.save(dict(state_dict=content, meta=dict(epoch=1, iter=2)), tmp_path / 'malicious.pth')
    return tmp_path / 'malicious.pth'


def test_the_payload_is_live(malicious, marker):
    torch.load(malicious, weights_only=False)
    assert marker.exists()


def test_refused_by_load_checkpoint(malicious, marker):
    with pytest.raises(CheckpointError, match='malicious.pth: refused, since it asks for .*system'):
        load_checkpoint(malicious)
    with pytest.raises(CheckpointError, match='refused'):
        load_weights(TinyModel(), malicious)
    assert not marker.exists()


def test_refused_by_load_from(malicious, marker, tmp_path):
    with pytest.raises(CheckpointError, match='refused'):
        make_runner(tmp_path, load_from=str(malicious)).train()
    assert not marker.exists()


def test_refused_when_resuming(malicious, marker, tmp_path):
    with pytest.raises(CheckpointError, match='refused'):
        make_runner(tmp_path, load_from=str(malicious), resume=True).train()
    malicious.rename(tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    with pytest.raises(CheckpointError, match='refused'):
        make_runner(tmp_path, resume=True).train()
    assert find_newest_checkpoint(tmp_path) is None
    assert not marker.exists()


def test_refused_by_init_cfg(malicious, marker):
    for prefix in ({}, dict(prefix='head.')):
        model = TinyModel(init_cfg=dict(type='Pretrained', checkpoint=str(malicious), **prefix))
        with pytest.raises(CheckpointError, match='refused'):
            model.init_weights()
    assert not marker.exists()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of a server of tmp_path on this machine; downloads go to another folder."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'downloads'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}'
        running.shutdown()


def test_addresses(malicious, marker, server, tmp_path, monkeypatch):
    torch.save(dict(state_dict=dict(a=torch.ones(2))), tmp_path / 'good.pth')
    assert CheckpointLoader.load_checkpoint(f'{server}/good.pth')['state_dict']['a'].sum() == 2
    with pytest.raises(CheckpointError, match='refused'):
        CheckpointLoader.load_checkpoint(f'{server}/malicious.pth')
    names = dict(bad=f'{server}/malicious.pth', good=f'{server}/good.pth')
    monkeypatch.setitem(ours.COLLECTIONS, 'torchvision', lambda: names)
    monkeypatch.setitem(ours.COLLECTIONS, 'open-mmlab', lambda: names)
    for scheme in ('torchvision', 'open-mmlab'):
        assert 'state_dict' in CheckpointLoader.load_checkpoint(f'{scheme}://good')
        with pytest.raises(CheckpointError, match='refused'):
            CheckpointLoader.load_checkpoint(f'{scheme}://bad')
        with pytest.raises(CheckpointError, match="unknown; did you mean 'good'"):
            CheckpointLoader.load_checkpoint(f'{scheme}://god')
    assert not marker.exists()


@pytest.mark.parametrize('address', ['s3://a/b.pth', 'x:s3://a.pth', 'pavi://a', 'mmcls://a'])
def test_other_schemes_are_refused(address):
    with pytest.raises(CheckpointError, match='copy it to this machine'):
        CheckpointLoader.load_checkpoint(address)


def test_mmengines_own_checkpoints_load_without_getattr(tmp_path):
    """Their message hub holds history buffers, whose pickles call getattr."""
    make_runner(tmp_path, epochs=1).train()
    path = tmp_path / 'epoch_1.pth'
    (name,) = [n for n in zipfile.ZipFile(path).namelist() if n.endswith('data.pkl')]
    assert b'getattr' in zipfile.ZipFile(path).read(name)
    assert getattr not in ours._safe_globals()
    loaded = load_checkpoint(path)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer) and len(history.data[0]) == 2
    assert history.statistics('mean') == history.data[0].mean()
    assert loaded['meta']['epoch'] == 1


@pytest.mark.parametrize(
    'reach',
    [
        Call(getattr, HistoryBuffer, '__init__'),
        Call(getattr, Call(getattr, HistoryBuffer, 'mean'), '__globals__'),
        Call(getattr, torch.nn.Parameter, 'mean'),
        Call(getattr, Call(getattr, HistoryBuffer, 'min'), '__builtins__'),
        Call(eval, '1 + 1'),
    ],
)
def test_getattr_reaches_nothing_but_statistics(tmp_path, reach):
    torch.save(dict(state_dict={}, reach=reach), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='refused'):
        load_checkpoint(tmp_path / 'a.pth')


def test_numpy_numbers_of_old_and_new_releases(tmp_path):
    values = [np.float64(1.5), np.float32(2), np.int64(3), np.uint8(255), np.bool_(True)]
    content = dict(values=values, arrays=[np.arange(3).astype(v.dtype) for v in values])
    torch.save(content, tmp_path / 'new.pth')
    (tmp_path / 'old.pth').write_bytes(b'')
    with (
        zipfile.ZipFile(tmp_path / 'new.pth') as new,
        zipfile.ZipFile(tmp_path / 'old.pth', 'w') as old,
    ):
        for name in new.namelist():
            data = new.read(name)
            if name.endswith('data.pkl'):
                assert b'numpy._core.multiarray' in data
                data = data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
            old.writestr(name, data)
    for name in ('new.pth', 'old.pth'):
        loaded = load_checkpoint(tmp_path / name)
        assert loaded['values'] == values
        for array, expected in zip(loaded['arrays'], content['arrays'], strict=True):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


STATE = b'(K\3U\1>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb.'  # of the other byte order


@pytest.mark.parametrize(
    ('made', 'refused'),
    [
        (b'cnumpy\ndtype\nU\2f2\x89\x89\x87R', False),  # align=False, copy=False
        (b'cnumpy\ndtype\nU\2f2\x89\x88\x87R', False),  # copy=True, as numpy writes it
        (b'cnumpy.dtypes\nFloat16DType\n)R', True),
        (b'cnumpy.dtypes\nFloat16DType\n)\x81', True),
    ],
)
def test_no_file_writes_into_the_number_types_of_the_process(tmp_path, made, refused):
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02' + made + STATE)
        archive.writestr('archive/version', '3\n')
    if refused:
        with pytest.raises(CheckpointError, match=r'asks for numpy\.dtypes\.Float16DType'):
            load_checkpoint(tmp_path / 'a.pth')
    else:
        loaded = load_checkpoint(tmp_path / 'a.pth')
        assert loaded.byteorder == '>' and loaded is not np.dtype(np.float16)
    assert np.dtype(np.float16).byteorder == '='


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match='gone.pth: no such checkpoint'):
        load_checkpoint(tmp_path / 'gone.pth')


def spoil(content, rng):
    """Cut a file short, or change some of its bytes."""
    spoilt = bytearray(content)
    if rng.random() < 0.5:
        return spoilt[: rng.randrange(len(spoilt))]
    for _ in range(rng.choice([1, 5, 50])):
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
    return spoilt


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('zipped', [True, False])
def test_damaged_files_give_one_kind_of_error(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    content = dict(state_dict=nn.Linear(9, 9).state_dict(), x=[1, 'a'])
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    rng = random.Random(0)
    errors = 0
    for _ in range(200):
        path.write_bytes(spoil(whole, rng))
        try:
            load_checkpoint(path)
        except CheckpointError as error:
            assert str(error).startswith(str(path)) and 'weights_only' not in str(error)
            errors += 1
    assert errors > 100


@pytest.mark.filterwarnings('ignore:.*TorchScript')
@pytest.mark.parametrize('content', ['cut', 'empty', 'text', 'plain pickle', 'script'])
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=nn.Linear(9, 9).state_dict()), path)
    if content == 'cut':
        path.write_bytes(path.read_bytes()[:-100])
    elif content == 'empty':
        path.write_bytes(b'')
    elif content == 'text':
        path.write_text('not a checkpoint')
    elif content == 'plain pickle':
        path.write_bytes(pickle.dumps(dict(a=1), protocol=5))
    else:
        torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(path)
    with pytest.raises(CheckpointError, match=r'a\.pth: damaged, or no checkpoint of tensors'):
        load_checkpoint(path)


def test_what_mmengine_puts_into_metainfo_loads(tmp_path):
    meta = dict(
        dataset_meta=ConfigDict(classes=('a', 'b'), nested=dict(ids=[1, dict(name='x')])),
        path=Path('/data/x'),
        windows=Call(WindowsPath, 'C:', 'x'),
    )
    torch.save(dict(state_dict={}, meta=meta), tmp_path / 'own.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'own.pth'))['meta']
    assert isinstance(loaded['dataset_meta'], ConfigDict)
    assert loaded['dataset_meta'] == meta['dataset_meta']
    assert loaded['dataset_meta'].nested.ids[1].name == 'x'
    assert loaded['path'] == Path('/data/x')
    assert loaded['windows'] == PureWindowsPath('C:', 'x')


class State(Call):
    """A pickle that calls a function and then sets the state of what it returns."""

    def __reduce__(self):
        return self.function, self.arguments, dict(evil=1)


@pytest.mark.parametrize(
    'evil', [State(ConfigDict, {}), State(PosixPath, 'x'), Call(ConfigDict, [('a', 1)])]
)
def test_stand_ins_take_nothing_but_content(tmp_path, evil):
    torch.save(dict(state_dict={}, evil=evil), tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / 'evil.pth')


@pytest.mark.parametrize('opted_out', [False, True])
def test_mmengines_own_loaders_stay_on_request(malicious, marker, opted_out):
    code = (
        'import luss_mm, sys; from mmengine.runner import CheckpointLoader; '
        'CheckpointLoader.load_checkpoint(sys.argv[1])'
    )
    environment = dict(os.environ) | (dict(LUSS_MM_LOADING='mmengine') if opted_out else {})
    command = [sys.executable, '-c', code, str(malicious)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == marker.exists() == opted_out
    assert opted_out or 'refused, since it asks for' in done.stderr
