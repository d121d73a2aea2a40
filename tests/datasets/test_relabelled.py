"""Images of several data sets under label maps of one folder."""

import numpy as np
import pytest
from mmseg.registry import DATASETS

from luss_mm.datasets import EpochIndex, RelabelledDataset
from tests.datasets.semi_layout import LABELLED, UNLABELLED, write_split
from tests.tiny_layout import write_image, write_label_map

LOADING = [dict(type='LoadBoundedImage'), dict(type='LoadLabelMap')]


@pytest.fixture
def folders(tmp_path, mmseg_scope):
    """`train-semi` holds a copy of an image of `train`, of another size to tell them apart."""
    for place, size in (('train-semi/ant/0', 10), ('train/ant/0', 20), ('train/bee/1', 30)):
        write_image(tmp_path / f'{place}.png', np.zeros((size, size, 3)))
    return [
        dict(type='LUSSDataset', data_root=str(tmp_path), data_prefix=dict(img_path=folder), **more)
        for folder, more in (
            ('train-semi', dict(categories=['ant', 'bee'])),
            ('train', dict(tags='folders', pipeline=[dict(type='PackViews', views=dict(a=[]))])),
        )
    ]


def relabelled(parts, folder, **settings):
    return RelabelledDataset(parts, dict(seg_map_path=str(folder or '')), **settings)


def test_lists_of_images(tmp_path, mmseg_scope):
    lists = write_split(tmp_path)
    parts = [
        dict(type='VOCListDataset', image_list=path, data_root=str(tmp_path)) for path in lists
    ]
    dataset = relabelled(parts, tmp_path / 'maps')
    assert len(dataset) == LABELLED + UNLABELLED and len(dataset.metainfo['classes']) == 21
    maps = [dataset.get_data_info(i)['seg_map_path'] for i in range(len(dataset))]
    assert maps == [str(tmp_path / f'maps/images/{i}.png') for i in range(len(dataset))]


def test_every_epoch_draws_anew_and_repeatably(folders, tmp_path):
    write_label_map(tmp_path / 'maps/ant/0.png', np.zeros((10, 10), int))
    write_label_map(tmp_path / 'maps/bee/1.png', np.zeros((30, 30), int))
    crop = dict(type='RandomCrop', crop_size=(4, 4), ignore_index=1000)
    flip = dict(type='RandomFlip', prob=0.5)
    config = dict(
        type='RelabelledDataset',
        parts=folders,
        data_prefix=dict(seg_map_path=str(tmp_path / 'maps')),
        pipeline=[*LOADING, crop, flip],
    )
    draws = [
        [DATASETS.build(config)[EpochIndex(1, epoch)]['flip'] for epoch in range(12)] for _ in '12'
    ]
    assert draws[0] == draws[1] and len(set(draws[0])) == 2
