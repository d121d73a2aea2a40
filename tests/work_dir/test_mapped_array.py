import errno
import os
import shutil

import pytest

from luss_mm.work_dir.atomic_files import create_mapped_array


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
