"""Which folders are categories: the same in every split, and nothing that is none."""

import numpy as np
import pytest

from luss_mm.datasets import LUSSDataset
from luss_mm.datasets.image_walk import category_names
from tests.tiny_layout import write_image

pytestmark = pytest.mark.usefixtures('mmseg_scope')

LEFT_OVER = ('.ipynb_checkpoints', '__MACOSX', '@eaDir', '.Trash', '.thumbnails')


def add(root, *names):
    for name in names:
        write_image(root / name, np.zeros((4, 4, 3)))


@pytest.mark.parametrize('left_over', LEFT_OVER)
def test_what_programs_leave_is_no_category_and_no_image(data_root, left_over):
    before = LUSSDataset(data_root, dict(img_path='train'), categories='folders')
    add(data_root / 'train', f'{left_over}/a.png', f'ant/{left_over}/b.png', 'bee/._train.png')
    after = LUSSDataset(data_root, dict(img_path='train'), categories='folders', tags='folders')
    assert after.metainfo['classes'] == ('others', 'ant', 'bee')
    assert len(after) == len(before) == 6 and after[5]['image_tags'] == (2,)


def test_folders_without_images_are_no_categories(data_root):
    (data_root / 'train/aaa/inner').mkdir(parents=True)
    (data_root / 'train/aaa/notes.txt').touch()
    (data_root / 'train/aaa/up').symlink_to('..')  # a circle holds nothing of its own
    add(data_root, 'train/deep/er/0.png')
    assert category_names([data_root / 'train']) == ['aaa', 'ant', 'bee', 'deep']
    (data_root / 'train/aaa/up').unlink()
    assert category_names([data_root / 'train']) == ['ant', 'bee', 'deep']


def test_ids_do_not_depend_on_the_split(data_root):
    """A category that train lacks does not shift the tags of those after it."""
    add(data_root, 'validation/bat/0.png', 'train-semi/bat/0.png', 'train-semi/cow/0.png')
    add(data_root, 'train-semi-segmentation/x/0.png')
    add(data_root, 'train-full/aardvark/0.png')  # ImageNet-S's, with ids of its own
    expected = ('others', 'ant', 'bat', 'bee', 'cow')
    for split in ('train', 'validation', 'train-semi'):
        prefix = dict(img_path=split)
        dataset = LUSSDataset(data_root, prefix, categories='folders', tags='folders')
        assert dataset.metainfo['classes'] == expected
    train = LUSSDataset(data_root, dict(img_path='train'), tags='folders')
    assert [train[i]['image_tags'] for i in (0, 5)] == [(1,), (3,)]


def test_a_file_of_classes_decides(data_root):
    make = lambda: LUSSDataset(  # noqa: E731
        data_root, dict(img_path='train'), categories='folders', tags='folders', pipeline=[]
    )
    before = make().fingerprint()
    classes = data_root / 'classes.txt'
    classes.write_text('bee\nbat\nant\n')
    dataset = make()
    assert dataset.metainfo['classes'] == ('others', 'bee', 'bat', 'ant')
    assert [dataset[i]['image_tags'] for i in (0, 5)] == [(3,), (1,)]
    named = dataset.fingerprint()
    classes.write_text('bee\ncow\nant\n')
    assert len({before, named, make().fingerprint()}) == 3


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'bee', 'classes.txt: lacks the category folders ant. Add a line'),
        (b'ant\n\nbee', 'classes.txt, line 2: is blank'),
        (b'ant\nbee\nant', 'classes.txt, line 3: repeats'),
        (b'\xff', 'classes.txt: is no UTF-8'),
    ],
)
def test_a_wrong_file_of_classes_is_named(data_root, content, message):
    (data_root / 'classes.txt').write_bytes(content)
    with pytest.raises(ValueError, match=message):
        LUSSDataset(data_root, dict(img_path='train'), categories='folders')
