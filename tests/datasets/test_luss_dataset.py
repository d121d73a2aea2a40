import shutil

import cv2
import numpy as np
import pytest

from luss_mm.datasets import LUSSDataset
from tests.conftest import IDS

pytestmark = pytest.mark.usefixtures('mmseg_scope')

LOADING = [dict(type='LoadBoundedImage'), dict(type='LoadLabelMap')]
VALIDATION = dict(img_path='validation', seg_map_path='validation-segmentation')


def relative_paths(dataset):
    return [dataset.relative_path(i) for i in range(len(dataset))]


def image_bytes(dataset):
    return [dataset[i]['img'].tobytes() for i in range(len(dataset))]


def slow_decode(path):
    bgr = cv2.imread(str(path))
    return [[int(red) + 256 * int(green) for _, green, red in row] for row in bgr]


def test_every_id_comes_through(data_root):
    dataset = LUSSDataset(data_root, VALIDATION, pipeline=LOADING)
    assert len(dataset) == 4
    for index in range(4):
        sample = dataset[index]
        labels = sample['gt_seg_map']
        assert labels.dtype == np.int32 and labels.shape == sample['ori_shape']
        assert set(np.unique(labels)) == set(IDS)
        np.testing.assert_array_equal(labels, slow_decode(sample['seg_map_path']))


@pytest.mark.parametrize(
    ('categories', 'classes'),
    [
        ('folders', ('others', 'ant', 'bee')),
        (['first', 'second'], ('others', 'first', 'second')),
        (None, None),
    ],
)
def test_categories(data_root, categories, classes):
    dataset = LUSSDataset(data_root, VALIDATION, categories=categories, pipeline=[])
    assert dataset.metainfo.get('classes') == classes
    if classes:
        assert len(dataset.metainfo['palette']) == len(classes)
    assert dataset.ignore_index == 1000
    assert dataset.label_map is None  # ids are never renumbered


def test_category_names_do_not_reach_the_pipeline(data_root):
    entry = LUSSDataset(data_root, dict(img_path='train'), pipeline=[]).get_data_info(0)
    assert {k for k, v in entry.items() if 'ant' in str(v)} == {'img_path'}


def test_a_flat_folder_equals_the_nested_one(data_root):
    nested = LUSSDataset(data_root, dict(img_path='train'), pipeline=LOADING[:1])
    for number, path in enumerate(relative_paths(nested)):
        (data_root / 'flat').mkdir(exist_ok=True)
        shutil.copy(data_root / 'train' / path, data_root / 'flat' / f'{number:06d}.JPEG')
    flat = LUSSDataset(data_root, dict(img_path='flat'), categories='folders', pipeline=LOADING[:1])
    assert relative_paths(flat) == [f'{i:06d}.JPEG' for i in range(6)]
    assert image_bytes(flat) == image_bytes(nested)
    assert flat.metainfo['classes'] == ('others',)


def test_missing_and_empty_folders_are_named(data_root):
    with pytest.raises(FileNotFoundError, match=r'data/trian: no such folder. Set data_root'):
        LUSSDataset(data_root, dict(img_path='trian'))
    (data_root / 'empty' / 'inner').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='empty: holds no image'):
        LUSSDataset(data_root, dict(img_path='empty'))


@pytest.mark.parametrize(
    'ignored',
    [
        dict(ann_file='gone.txt'),
        dict(reduce_zero_label=True),
        dict(filter_cfg=dict(min_size=3)),
        dict(img_suffix='.png'),
    ],
    ids=lambda ignored: next(iter(ignored)),
)
def test_arguments_without_effect_are_refused(data_root, ignored):
    name = next(iter(ignored))
    with pytest.raises(ValueError, match=f'^{name}=.* has no effect on a LUSSDataset: .* Remove'):
        LUSSDataset(data_root, **ignored)
    LUSSDataset(data_root, ann_file='', reduce_zero_label=False, filter_cfg=None)
