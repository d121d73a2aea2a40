import os
import shutil
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS

from luss_mm.datasets import EpochIndex, LUSSDataset
from tests.conftest import IDS
from tests.tiny_layout import write_image, write_label_map

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


def test_an_unlabelled_split_needs_no_masks(data_root):
    shutil.rmtree(data_root / 'validation-segmentation')
    dataset = LUSSDataset(data_root, dict(img_path='train'), pipeline=LOADING[:1])
    assert len(dataset) == 6
    sample = dataset[5]
    assert 'seg_map_path' not in sample and sample['img'].dtype == np.uint8


def test_masks_may_be_made_after_the_data_set(data_root, tmp_path):
    labels = tmp_path / 'made-later'
    dataset = LUSSDataset(
        data_root, dict(img_path='train', seg_map_path=str(labels)), pipeline=LOADING
    )
    with pytest.raises(FileNotFoundError, match='train_ant_0.png: no such mask'):
        dataset[0]
    size = cv2.imread(str(data_root / 'train/ant/train_ant_0.JPEG')).shape[:2]
    write_label_map(labels / 'ant' / 'train_ant_0.png', np.full(size, 919))
    assert (dataset[0]['gt_seg_map'] == 919).all()


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


def test_unknown_way_to_name_categories(data_root):
    with pytest.raises(ValueError, match="'folder'"):
        LUSSDataset(data_root, categories='folder')


def test_a_flat_folder_equals_the_nested_one(data_root):
    nested = LUSSDataset(data_root, dict(img_path='train'), pipeline=LOADING[:1])
    for number, path in enumerate(relative_paths(nested)):
        (data_root / 'flat').mkdir(exist_ok=True)
        shutil.copy(data_root / 'train' / path, data_root / 'flat' / f'{number:06d}.JPEG')
    flat = LUSSDataset(data_root, dict(img_path='flat'), categories='folders', pipeline=LOADING[:1])
    assert relative_paths(flat) == [f'{i:06d}.JPEG' for i in range(6)]
    assert image_bytes(flat) == image_bytes(nested)
    assert flat.metainfo['classes'] == ('others',)


def test_order_is_sorted_whatever_the_disk_says(tmp_path, monkeypatch):
    names = ['b/2.JPEG', 'b/10.jpg', 'a/9.PNG', 'c.bmp', 'a/deep/er/0.webp']
    for name in names:
        write_image(tmp_path / name, np.zeros((4, 4, 3)))
    (tmp_path / 'notes.txt').write_text('no image')
    scandir = os.scandir

    @contextmanager
    def shuffled(path):
        with scandir(path) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, 'scandir', shuffled)
    assert relative_paths(LUSSDataset(tmp_path, dict(img_path=''), pipeline=[])) == sorted(names)


def test_several_folders_one_after_another(data_root):
    write_image(data_root / 'extra' / '0.JPEG', np.zeros((8, 8, 3)))
    folders = ['train', 'extra', str(data_root / 'validation')]
    dataset = LUSSDataset(data_root, dict(img_path=folders), pipeline=[])
    paths = relative_paths(dataset)
    assert len(paths) == 6 + 1 + 4 and paths[6] == '0.JPEG'
    assert paths[:6] == sorted(paths[:6]) and paths[7:] == sorted(paths[7:])


def test_links_to_folders_are_followed(data_root):
    (data_root / 'linked').mkdir()
    (data_root / 'linked' / 'ant').symlink_to(data_root / 'train' / 'ant')
    dataset = LUSSDataset(data_root, dict(img_path='linked'), pipeline=[])
    assert relative_paths(dataset) == [f'ant/train_ant_{i}.JPEG' for i in range(3)]


def test_two_images_with_one_label_map_are_refused(data_root):
    image = np.zeros((8, 8, 3))
    write_image(data_root / 'validation' / 'ant' / 'validation_ant_0.png', image)
    with pytest.raises(ValueError, match='validation_ant_0.*share the label map.*Rename'):
        LUSSDataset(data_root, VALIDATION)
    assert len(LUSSDataset(data_root, dict(img_path='validation'), pipeline=[])) == 5
    # The same relative path below two folders is one label map as well.
    write_image(data_root / 'extra' / 'ant' / 'train_ant_1.JPEG', image)
    prefix = dict(img_path=['train', 'extra'], seg_map_path='labels')
    with pytest.raises(ValueError, match='share the label map'):
        LUSSDataset(data_root, prefix)


def test_missing_and_empty_folders_are_named(data_root):
    with pytest.raises(FileNotFoundError, match=r'data/trian: no such folder. Set data_root'):
        LUSSDataset(data_root, dict(img_path='trian'))
    (data_root / 'empty' / 'inner').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='empty: holds no image'):
        LUSSDataset(data_root, dict(img_path='empty'))


def test_fingerprint_follows_images_and_given_masks_only(data_root, tmp_path):
    def fingerprint(root, **prefix):
        return LUSSDataset(root, prefix or VALIDATION, pipeline=[]).fingerprint()

    before = fingerprint(data_root)
    moved = shutil.copytree(data_root, tmp_path / 'moved')
    assert fingerprint(moved) == before
    # Label maps outside of the data belong to the run.
    elsewhere = dict(img_path='train', seg_map_path=str(tmp_path / 'run' / 'labels'))
    unmade = fingerprint(data_root, **elsewhere)
    write_label_map(tmp_path / 'run' / 'labels' / 'ant' / 'train_ant_0.png', np.zeros((4, 4), int))
    assert fingerprint(data_root, **elsewhere) == unmade
    mask = moved / 'validation-segmentation' / 'bee' / 'validation_bee_0.png'
    mask.write_bytes(mask.read_bytes() + b'x')
    assert fingerprint(moved) != before
    (data_root / 'validation' / 'bee' / 'validation_bee_0.JPEG').rename(
        data_root / 'validation' / 'bee' / 'other.JPEG'
    )
    assert fingerprint(data_root) != before


def test_built_from_a_config_and_subset(data_root):
    config = dict(type='LUSSDataset', data_root=str(data_root), pipeline=LOADING[:1], indices=2)
    dataset = DATASETS.build(config)
    assert len(dataset) == 2 and dataset[1]['sample_idx'] == 1
    assert dataset[EpochIndex(1, 3)]['sample_idx'] == 1


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
