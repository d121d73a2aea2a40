import re
import shutil

import numpy as np
import pytest
from mmengine.config import Config

from luss_mm.recipes.data_check import check_data
from luss_mm.recipes.folder_defaults import look_at_folder
from luss_mm.recipes.recipe import Recipe
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


def test_what_is_set_wins(tmp_path):
    write_images(tmp_path / 'photos', 8)
    given = dict(train_split='photos', evaluate=True, num_categories=5)
    assert look(tmp_path, **given) == ({}, [])
    found, lines = look(tmp_path / 'photos', evaluate=True, num_categories=3)
    assert found == dict(train_split='') and len(lines) == 1


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


def test_only_the_names_of_splits_count(tmp_path):
    write_images(tmp_path / 'photos/trains and trams', 3)
    assert look(tmp_path / 'photos')[0]['train_split'] == ''
    write_images(tmp_path / 'photos/validation', 3)
    assert look(tmp_path / 'photos')[0]['train_split'] == 'train'


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


def test_nothing_there_is_left_to_the_check_of_the_data(tmp_path):
    found, _ = look(tmp_path / 'nowhere')
    assert found == dict(train_split='train', evaluate=True, num_categories=2)


def folder_recipe(name, **settings):
    config = Config.fromfile(f'configs/luss/{name}_folder.py')
    config.merge_from_dict(dict(work_dir='/elsewhere/run', num_workers=0) | settings)
    return Recipe(config)


@pytest.mark.parametrize('name', ['pass', 'pdso'])
def test_recipes_for_folders_take_photographs_alone(tmp_path, name):
    write_images(tmp_path / 'photos', 40)
    recipe = folder_recipe(
        name, data_root=str(tmp_path / 'photos'), batch_size=4, finetune_batch_size=4
    )
    assert len(recipe.notes) == 4 and recipe.evaluate is False
    check_data(recipe, ['pretrain', 'attention'])
    for stage in recipe.stage_order:
        dataset = recipe.stage(stage, 'x')['train_dataloader']['dataset']
        assert dataset['data_prefix']['img_path'] in ('', [''])
    assert recipe.stage('finetune', 'x')['model']['decode_head']['num_classes'] == 4 + 1


@pytest.mark.parametrize('name', ['pass', 'pdso'])
def test_another_number_of_categories_keeps_what_comes_before_clustering(tmp_path, name):
    write_images(tmp_path / 'photos', 40)
    first, second = (
        folder_recipe(name, data_root=str(tmp_path / 'photos'), num_categories=k) for k in (4, 7)
    )
    same = {n for n in first.stage_order if first.settings_of(n) == second.settings_of(n)}
    assert same == {'pretrain', 'attention'}
    assert all(first.stage_inputs(n) == second.stage_inputs(n) for n in same)
    sources = [
        hook['source']
        for recipe in (first, second)
        for hook in recipe.stage('finetune', 'x')['custom_hooks']
        if hook['type'] == 'ClusterHook'
    ]
    assert len(sources) == 2 and sources[0] == sources[1]  # so features are kept, too


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
    'names', [('a/1.png', 'a/1_mask.png'), ('a/1.png', 'SegmentationClass/1.png')]
)
def test_masks_among_photographs_stop_the_run(tmp_path, names):
    for name in names:
        write_image(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SettingsError, match='a mask by its name, 1 of 1.*train_split=.') as refusal:
        look(tmp_path)
    assert names[1] in str(refusal.value)
    assert look(tmp_path, train_split='.')[0]['num_categories'] == 2


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
