import errno
import os
import shutil
import threading

import numpy as np
import pytest

from luss_mm.work_dir.atomic_files import (
    create_mapped_array,
    opened_atomically,
    remove_leftovers,
    temporary_path,
    write_array,
    write_atomically,
)


def names(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob('*'))


def test_nothing_or_everything(tmp_path):
    path = tmp_path / 'new' / 'a.npy'
    write_array(path, np.arange(3))
    with pytest.raises(RuntimeError), opened_atomically(path) as file:
        file.write(b'half')
        raise RuntimeError
    np.testing.assert_array_equal(np.load(path), np.arange(3))
    write_atomically(path, b'other', sync=False)
    assert path.read_bytes() == b'other'
    assert names(tmp_path) == ['new', 'new/a.npy']


def test_interrupted_before_the_name(tmp_path, monkeypatch):
    path = tmp_path / 'file.json'
    write_atomically(path, b'first')

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b'second')
    assert path.read_bytes() == b'first' and names(tmp_path) == ['file.json']


def test_on_the_disk_unless_told_otherwise(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, 'fsync', synced.append)
    write_atomically(tmp_path / 'a', b'a')
    assert len(synced) == 1
    write_atomically(tmp_path / 'b', b'b', sync=False)
    assert len(synced) == 1


def test_an_error_names_the_file(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(OSError) as error:
        write_atomically(tmp_path / 'file' / 'a', b'a')
    assert str(tmp_path / 'file') == error.value.filename
    with pytest.raises(OSError) as error:
        write_atomically(tmp_path, b'a')  # a folder
    assert str(tmp_path) == error.value.filename and error.value.filename2 is None


def test_the_last_of_many_writers(tmp_path):
    path = tmp_path / 'a'
    contents = [bytes([i]) * 100_000 for i in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(path, c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents and names(tmp_path) == ['a']


@pytest.mark.parametrize('name', ['a.png', 'a', 'x' * 251 + '.png', '.hidden.jsonl'])
def test_temporary_names(tmp_path, name):
    first, second = temporary_path(tmp_path / name), temporary_path(tmp_path / name)
    assert first != second and first.parent == tmp_path and len(first.name) < 40
    assert first.suffix == ((tmp_path / name).suffix or '.tmp')
    first.touch()
    assert remove_leftovers(tmp_path) == 1 and not names(tmp_path)


def test_leftovers_go_and_nothing_else_does(tmp_path):
    kept = ['.abc.tmp', '.hidden', '.0123456789abcdef', 'a.tmp', '0123456789abcdef.tmp.png']
    for folder in (tmp_path, tmp_path / 'below'):
        folder.mkdir(exist_ok=True)
        for name in kept:
            (folder / name).touch()
        temporary_path(folder / 'a.png').touch()
        temporary_path(folder / 'report').mkdir()
    expected = sorted([*kept, 'below', *(f'below/{name}' for name in kept)])
    assert remove_leftovers(tmp_path, below=False) == 2
    assert len(names(tmp_path)) == len(expected) + 2
    assert remove_leftovers(tmp_path) == 2
    assert names(tmp_path) == expected
    assert remove_leftovers(tmp_path / 'gone') == 0


def test_the_disk_has_set_the_blocks_aside(tmp_path):
    path = tmp_path / 'a.npy'
    create_mapped_array(path, (1000, 1000))
    assert os.stat(path).st_blocks * 512 >= 4_000_000


def test_a_disk_without_room_is_named_and_not_filled(tmp_path):
    path = tmp_path / 'a.npy'
    rows = shutil.disk_usage(tmp_path).free // 4096 + 1
    with pytest.raises(OSError) as raised:
        create_mapped_array(path, (rows, 1024))
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(path)
    assert not path.exists()
