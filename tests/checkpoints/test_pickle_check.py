import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint
from luss_mm.models.segmenters.promptable_segmenter import SegmenterError
from luss_mm.models.segmenters.sam_segmenter import _read_state
from luss_mm.pickle_check import LEGACY_PICKLES, LONGEST_NAME, check_pickles

LONG = b'x' * 100_000
STRING = b'X' + struct.pack('<I', len(LONG)) + LONG
GETATTR = b'cbuiltins\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n'
DTYPE = b'\x80\x02cnumpy\ndtype\nU\2i8\x89\x88\x87R'
# Pickles that make torch's errors, or ours, as long as they like.
BAD = {
    'a long name': b'\x80\x02ctorch\n' + LONG + b'\n.',
    'a long module': b'\x80\x02c' + LONG + b'\na\n.',
    'a name of other letters': b'\x80\x02ctorch\n' + 'é'.encode() * 50_000 + b'\n.',
    'a called string': b'\x80\x02' + STRING + b')R.',
    'a string as a class': b'\x80\x02' + STRING + b')\x81.',
    'a called result': b'\x80\x02cbuiltins\nset\n' + STRING + b'\x85R)R.',
    'marks without end': b'\x80\x02' + b'(' * 10_000 + b'.',
    'flags of a number type': DTYPE + b'(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x01tb.',
    'flags from a call': DTYPE + b'(K\3U\1<NNNK\1K\1cbuiltins\nset\n)Rtb.',
    'flags of the memo': b'\x80\x02K\1q\5' + DTYPE[2:] + b'(K\3U\1<NNNK\1K\1h\5tbe.',
    'a petabyte': b'\x80\x02\x96' + struct.pack('<Q', 2**50),
    'a called string of the memo': b'\x80\x02' + STRING + b'q\0(e]h\0)R.',
}
PLAIN = dict(
    state_dict=OrderedDict(a=torch.ones(3, 2), b=nn.Parameter(torch.zeros(4).half())),
    optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1)]),
    array=np.arange(5),
    number=np.float64(2.5),
    meta=dict(cfg='a = 1\n' * 9, epochs=[1, -2, 2**70, None, True], size=torch.Size([2])),
)


def write_zip(path, content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('archive/data.pkl', content)
        archive.writestr('archive/version', '3\n')


def write_legacy(path, content, place=3):
    """A file of torch's old format, one of whose pickles is `content`."""
    whole = io.BytesIO()
    torch.save({}, whole, _use_new_zipfile_serialization=False)
    whole.seek(0)
    parts = []
    for _ in range(LEGACY_PICKLES):
        start = whole.tell()
        pickle.load(whole)
        parts.append(whole.getvalue()[start : whole.tell()])
    parts[place] = content
    path.write_bytes(b''.join(parts))


@pytest.fixture
def torch_sees_nothing(monkeypatch):
    def loaded(*_, **__):
        pytest.fail('torch.load was called')

    monkeypatch.setattr(torch, 'load', loaded)


@pytest.mark.usefixtures('torch_sees_nothing')
@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('write', [write_zip, write_legacy])
def test_what_makes_errors_long_never_reaches_torch(tmp_path, write, bad):
    path = tmp_path / 'a.pth'
    write(path, BAD[bad])
    with pytest.raises(CheckpointError, match='a.pth: damaged, or no checkpoint') as caught:
        load_checkpoint(path)
    assert len(str(caught.value)) < len(str(path)) + 300
    with pytest.raises(SegmenterError, match='a.pth: refused') as caught:
        _read_state(path)
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.parametrize('place', range(LEGACY_PICKLES))
def test_every_pickle_of_the_old_format_is_looked_at(tmp_path, place):
    write_legacy(tmp_path / 'a.pth', BAD['a called string'], place)
    with pytest.raises(pickle.UnpicklingError, match='no function with a name'):
        check_pickles(tmp_path / 'a.pth')


def test_names_up_to_the_limit_are_left_to_torch(tmp_path):
    path = tmp_path / 'a.pth'
    name = 'x' * (LONGEST_NAME - len('torch '))
    write_zip(path, f'\x80\x02ctorch\n{name}\n.'.encode('latin-1'))
    with pytest.raises(CheckpointError, match=f'refused, since it asks for torch.{name}:'):
        load_checkpoint(path)
    write_zip(path, f'\x80\x02ctorch\n{name}x\n.'.encode('latin-1'))
    with pytest.raises(pickle.UnpicklingError, match=f'a name of {LONGEST_NAME + 1} characters'):
        check_pickles(path)


@pytest.mark.parametrize('write', [write_zip, write_legacy])
def test_our_own_refusal_is_short_too(tmp_path, write):
    path = tmp_path / 'a.pth'
    write(path, b'\x80\x02' + GETATTR + STRING + b'\x86R.')
    with pytest.raises(CheckpointError, match='refused, since it asks for builtins.getattr') as e:
        load_checkpoint(path)
    assert len(str(e.value.__cause__)) < 1000


def test_errors_of_what_a_file_may_call_are_cut(tmp_path):
    path = tmp_path / 'a.pth'
    write_zip(path, b'\x80\x02cnumpy\ndtype\n' + STRING + b'\x85R.')
    with pytest.raises(CheckpointError, match="TypeError data type 'xxx") as caught:
        load_checkpoint(path)
    assert len(str(caught.value)) < len(str(path)) + 300


def test_a_pickle_larger_than_its_file_is_refused(tmp_path):
    content = b'\x80\x02](' + b'K\1' * 100_000 + b'e.'
    write_zip(tmp_path / 'whole.pth', content)
    check_pickles(tmp_path / 'whole.pth')
    write_zip(tmp_path / 'bomb.pth', content, zipfile.ZIP_DEFLATED)
    with pytest.raises(pickle.UnpicklingError, match='its pickle unpacks to 200,006 bytes'):
        check_pickles(tmp_path / 'bomb.pth')


@pytest.mark.parametrize('zipped', [True, False])
def test_what_torch_saves_passes(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    torch.save(PLAIN, path, _use_new_zipfile_serialization=zipped)
    check_pickles(path)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded['state_dict']['a'], PLAIN['state_dict']['a'])
    assert loaded['meta'] == PLAIN['meta'] and loaded['number'] == 2.5


def test_no_tensor_is_read(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.ones(1000)), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-3999])
    check_pickles(path)
    with pytest.raises(CheckpointError, match='damaged'):
        load_checkpoint(path)
