import re
import shutil

import numpy as np
import pytest

from luss_mm.recipes.folder_defaults import look_at_folder
from luss_mm.recipes.settings import SettingsError
from tests.tiny_layout import write_image

UNKNOWN = dict(train_split=None, evaluate=None, num_categories=None)


def write_images(folder, count):
    for i in range(count):
        write_image(folder / f'{i}.png', np.full((8, 8, 3), i % 250))


def look(root, work_dir='/elsewhere', **settings):
    return look_at_folder(dict(UNKNOWN, data_root=str(root), work_dir=str(work_dir)) | settings)


def test_photographs_in_a_folder_are_the_training_set(tmp_path):
    write_images(tmp_path / 'photos', 20)
    write_images(tmp_path / 'photos/trip', 12)
    found, lines = look(tmp_path / 'photos')
    assert found == dict(train_split='', evaluate=False, num_categories=4)
    assert 'no folder train/' in lines[0] and 'nothing is scored' in lines[1]
    assert 'num_categories=4, a rule of thumb for 32 images' in lines[2]
    assert 'tools/suggest_categories.py /elsewhere' in lines[2]


@pytest.mark.parametrize(
    'images, batch, epochs, steps',
    [
        (40, 8, 80, 400),
        (45, 8, 80, 400),
        (47, 10, 100, 400),
        (320, 8, 10, 400),
        (800, 8, 6, 600),
        (6, 8, 400, 400),
    ],
)
def test_fine_tuning_has_enough_steps_and_epochs(tmp_path, images, batch, epochs, steps):
    write_images(tmp_path / 'photos', images)
    given = dict(evaluate=False, num_categories=3, train_split='photos')
    given |= dict(finetune_epochs=None, finetune_batch_size=batch)
    found, lines = look(tmp_path, **given)
    assert found == dict(finetune_epochs=epochs)
    assert f'finetune_epochs={epochs}, {steps} steps for {images} images' in lines[0]
    assert look(tmp_path, **given | dict(finetune_epochs=3)) == ({}, [])


def test_a_folder_with_splits(tmp_path):
    write_images(tmp_path / 'train', 50)
    found, lines = look(tmp_path)
    assert found == dict(train_split='train', evaluate=False, num_categories=5)
    assert len(lines) == 2
    for category in 'abc':
        write_images(tmp_path / 'validation' / category, 1)
    with pytest.raises(SettingsError, match=re.escape('set num_categories=3, or set evaluate=')):
        look(tmp_path)
    for unneeded in 'bc':
        (tmp_path / f'validation/{unneeded}/0.png').unlink()
    with pytest.raises(SettingsError, match='num_categories=1 and use_dff=False, or set evalu'):
        look(tmp_path, use_dff=True)
    with pytest.raises(SettingsError, match='num_categories=1, or set evaluate=False'):
        look(tmp_path, use_dff=False)
    assert look(tmp_path, evaluate=False)[0] == dict(train_split='train', num_categories=5)
    assert look(tmp_path, num_categories=3) == (dict(train_split='train', evaluate=True), [])


def test_splits_without_train_are_a_mistake_not_photographs(tmp_path):
    write_images(tmp_path / 'validation', 3)
    assert look(tmp_path, num_categories=2)[0] == dict(train_split='train', evaluate=True)


@pytest.mark.parametrize('inside', ['photos', 'photos/runs/1'])
def test_a_run_does_not_train_on_its_own_pictures(tmp_path, inside):
    write_images(tmp_path / 'photos', 3)
    with pytest.raises(SettingsError, match='lies among the images of .* Set another work_dir'):
        look(tmp_path / 'photos', tmp_path / inside)
    write_images(tmp_path / 'photos/train', 3)
    look(tmp_path / 'photos', tmp_path / inside)
    with pytest.raises(SettingsError, match='lies among the images'):
        look(tmp_path / 'photos', tmp_path / inside, train_split='.')


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SettingsError, match='empty: holds neither images nor a folder train/'):
        look(tmp_path / 'empty')
    found, lines = look(tmp_path / 'nowhere')  # whoever needs the images says so
    assert found['train_split'] == 'train' and not any('rule of thumb' in line for line in lines)


def test_masks_beside_photographs_are_no_photographs(tmp_path):
    for folder in ('img_dir/train', 'img_dir/val', 'ann_dir/train'):
        write_images(tmp_path / 'mmseg' / folder, 8)
    assert look(tmp_path / 'mmseg')[0]['train_split'] == 'img_dir/train'
    write_images(tmp_path / 'images', 8)
    write_images(tmp_path / 'masks', 8)
    shutil.rmtree(tmp_path / 'mmseg')
    found, lines = look(tmp_path)
    assert found['train_split'] == 'images' and not found['evaluate']
    assert f'tools/convert_masks.py {tmp_path}/masks --images {tmp_path}/images' in lines[0]
    (tmp_path / 'validation').symlink_to('images')  # as the line says
    (tmp_path / 'validation-segmentation').mkdir()
    found, _ = look(tmp_path, num_categories=3)
    assert found == dict(train_split='images', evaluate=True)


@pytest.mark.parametrize(
    'names',
    [
        ('a/1.png', 'a/1_mask.png'),
        ('a/1.png', 'SegmentationClass/1.png'),
        ('a_json/img.png', 'a_json/label.png'),  # of labelme
        ('imagesTr/1.png', 'labelsTr/1.png'),
        ('original_images/1.png', 'label_images_semantic/1.png'),
    ],
)
def test_masks_among_photographs_stop_the_run(tmp_path, names):
    for name in names:
        write_image(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SettingsError, match='a mask by its name, 1 of 1.*train_split=.') as refusal:
        look(tmp_path)
    assert names[1] in str(refusal.value)
    assert look(tmp_path, train_split='.')[0]['num_categories'] == 2


def test_photographs_of_masks_are_photographs(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    write_image(tmp_path / 'with_mask/1.png', pixels)
    assert look(tmp_path)[0]['train_split'] == ''


def test_masks_within_train_stop_the_run(tmp_path):
    """As Roboflow writes them."""
    for name in ('a_jpg.rf.1.png', 'a_jpg.rf.1_mask.png'):
        write_image(tmp_path / 'train' / name, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SettingsError, match=r'train/a_jpg.rf.1_mask.png: a mask .*train_split=tr'):
        look(tmp_path)
    assert look(tmp_path, train_split='train')[0]['num_categories'] == 2


def test_masks_of_instances_are_not_proposed(tmp_path):
    for folder in ('Images', 'SegmentationClass', 'SegmentationObject'):
        write_images(tmp_path / folder, 8)
    found, lines = look(tmp_path)
    assert found['train_split'] == 'Images' and 'SegmentationClass' in lines[0]


def test_folders_that_are_not_used_are_named(tmp_path):
    for name in ('train', 'val', 'beach', 'test'):
        write_images(tmp_path / name, 3)
    _, lines = look(tmp_path)
    assert any('1 folder(s) beside it (beach)' in line for line in lines)
    assert any('rename it validation/' in line for line in lines)


def test_an_album_may_be_called_test(tmp_path):
    for name in ('test', 'beach', '.Trash', '@eaDir', '.thumbnails'):
        write_images(tmp_path / name, 10)
    found, lines = look(tmp_path)
    assert found['train_split'] == '' and 'for 20 images' in lines[2]
