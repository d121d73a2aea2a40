"""Maps whose values are their own coordinates must stay aligned with the label map."""

import numpy as np
import pytest
from mmengine.dataset import Compose

from luss_mm.datasets.cached_maps import (
    CropCachedMaps,
    LoadCachedMaps,
    layout_path,
    values_path,
)
from luss_mm.datasets.samplers import sample_randomness
from luss_mm.work_dir.atomic_files import write_array
from tests.tiny_layout import write_label_map

SIZE, STRIDES, IGNORED = 32, (4, 8, 8), 1000
MAPS = dict(side=32, channels=(2, 2, 2), strides=STRIDES)
INPUTS = [(32, 61), (50, 32), (32, 24), (20, 24)]  # wide, high, narrower and smaller than the crop
pytestmark = pytest.mark.usefixtures('mmseg_scope')


def planted_maps(height, width):
    """Row and column of each cell, from 1, at every stride."""
    maps = []
    for stride in STRIDES:
        rows, columns = -(-height // stride), -(-width // stride)
        grid = np.stack(np.meshgrid(range(1, rows + 1), range(1, columns + 1), indexing='ij'))
        maps.append(grid.astype(np.float16))
    return maps


@pytest.fixture
def planted(tmp_path):
    """A cache of INPUTS in two shards, and label maps of twice the size: 16 * row + column."""
    for shard, inputs in enumerate((INPUTS[:3], INPUTS[3:])):
        images = [planted_maps(*size) for size in inputs]
        layout = [
            [2 * height, 2 * width, height, width, *(n for m in maps for n in m.shape)]
            for (height, width), maps in zip(inputs, images, strict=True)
        ]
        flat = np.concatenate([m.ravel() for maps in images for m in maps])
        write_array(layout_path(tmp_path, shard), np.array(layout, dtype=np.int32))
        write_array(values_path(tmp_path, shard), flat)
    for index, (height, width) in enumerate(INPUTS):
        rows, columns = np.indices((2 * height, 2 * width)) // 16
        write_label_map(tmp_path / f'{index}.png', 16 * (rows + 1) + columns + 1)
    return tmp_path


def transforms(directory):
    return Compose(
        [
            dict(type='LoadCachedMaps', directory=str(directory), **MAPS),
            dict(type='LoadLabelMap', match_image=False),
            dict(type='CropCachedMaps', size=SIZE, strides=STRIDES, ignore_index=IGNORED),
            dict(type='FlipCachedMaps', prob=0.5),
            dict(type='PackCachedMaps'),
        ]
    )


def draw(directory, index, epoch):
    entry = dict(img_path='x.JPEG', seg_map_path=str(directory / f'{index}.png'), sample_idx=index)
    with sample_randomness(0, epoch, index):
        return transforms(directory)(entry)


@pytest.mark.parametrize('index', range(len(INPUTS)))
def test_maps_and_labels_stay_aligned(planted, index):
    height, width = INPUTS[index]
    corners, flipped = set(), set()
    for epoch in range(24):
        sample = draw(planted, index, epoch)
        labels = sample['data_samples'].gt_sem_seg.data[0].numpy()
        assert labels.shape == (SIZE, SIZE)
        levels = [level.float().numpy() for level in sample['inputs']]
        assert [level.shape[1:] for level in levels] == [(SIZE // s, SIZE // s) for s in STRIDES]
        for level, stride in zip(levels, STRIDES, strict=True):
            cells = level.repeat(stride, axis=1).repeat(stride, axis=2)  # (2, SIZE, SIZE)
            coarse = -(-cells * stride // 8)
            counted = labels != IGNORED
            np.testing.assert_array_equal((16 * coarse[0] + coarse[1])[counted], labels[counted])
            assert cells[:, counted].all()  # padded cells count nowhere
        assert (labels != IGNORED).sum() >= min(height, SIZE - 8) * min(width, SIZE - 8)
        corners.add(levels[1][:, :, 1:3].max((1, 2)).tobytes())
        first, second = levels[1][1, 0, 1:3]  # none of them padded
        flipped.add(bool(second < first))
    assert flipped == {False, True}
    if max(height, width) > SIZE:
        assert len(corners) > 3


def test_a_sample_is_a_function_of_its_seed(planted):
    first, second, other = (draw(planted, 0, epoch) for epoch in (5, 5, 6))
    for a, b in zip(first['inputs'], second['inputs'], strict=True):
        np.testing.assert_array_equal(a, b)
    draws = [draw(planted, 0, epoch)['inputs'][0].numpy().tobytes() for epoch in range(8)]
    assert len(set(draws)) > 2 and other['inputs'][0].shape == first['inputs'][0].shape


@pytest.mark.parametrize('other', [dict(strides=(8, 8, 8)), dict(channels=(2, 2, 3))])
def test_maps_that_do_not_fit_are_named(planted, other):
    with pytest.raises(ValueError, match=r'do not have \(2, 2, .\) channels and strides of'):
        LoadCachedMaps(str(planted), **MAPS | other)(dict(sample_idx=0))


def test_a_crop_of_broken_cells_is_refused():
    with pytest.raises(ValueError, match='crop_size=36 must be a multiple'):
        CropCachedMaps(36, STRIDES, IGNORED)
