import errno
import os

import numpy as np
import pytest

from luss_mm.pipeline.mapped_array import create_mapped_array


def test_what_is_assigned_is_read_back(tmp_path):
    path = tmp_path / 'a.npy'
    array = create_mapped_array(path, (3, 5))
    array[1] = np.arange(5)
    array.flush()
    expected = np.zeros((3, 5), np.float32)
    expected[1] = range(5)
    np.testing.assert_array_equal(np.load(path), expected)


def test_the_disk_has_set_the_blocks_aside(tmp_path):
    path = tmp_path / 'a.npy'
    create_mapped_array(path, (1000, 1000))
    assert os.stat(path).st_blocks * 512 >= 4_000_000


def test_a_disk_without_room_is_named_and_nothing_is_left(tmp_path):
    path = tmp_path / 'a.npy'
    rows = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize // 4096 + 1
    with pytest.raises(OSError) as raised:
        create_mapped_array(path, (rows, 1024))  # a file larger than the disk
    assert raised.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert raised.value.filename == str(path)
    assert not path.exists()
