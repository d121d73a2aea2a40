import re
import shutil

import numpy as np
import pytest
from PIL import Image

from luss_mm.datasets import ImageListDataset
from tests.datasets.semi_layout import write_lines, write_split
from tests.tiny_layout import write_image, write_label_map

pytestmark = pytest.mark.usefixtures('mmseg_scope')

LOADING = [dict(type='LoadBoundedImage'), dict(type='LoadIndexedLabelMap')]


@pytest.fixture
def split(tmp_path):
    return tmp_path, *write_split(tmp_path)


def dataset_of(split, *lines, **settings):
    """A data set over `lines`, or over labelled.txt if there are none."""
    root, labelled, _ = split
    image_list = write_lines(root / 'list.txt', *lines) if lines else labelled
    return ImageListDataset(image_list, str(root), **settings)


def entries(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_images_and_masks_in_the_order_of_the_list(split):
    dataset = dataset_of(
        split, 'images/2.jpg masks/2.png', 'images/0.jpg', 'images/1.jpg masks/1.png'
    )
    assert [dataset.relative_path(i) for i in range(3)] == [f'images/{i}.jpg' for i in (2, 0, 1)]
    masks = [entry.get('seg_map_path') for entry in entries(dataset)]
    assert masks == [f'{split[0]}/masks/2.png', None, f'{split[0]}/masks/1.png']


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        (['images/0.jpg a b'], "line 1: 'image' or 'image mask', not 3 words"),
        (['images/0.jpg', 'images/9.jpg'], 'line 2: no file '),
        (['images/0.jpg masks/9.png'], 'line 1: no file '),
        (['images/0.jpg', 'images/1.jpg', 'images/0.jpg'], 'line 3: names images/0.jpg again, see'),
        (['/images/0.jpg'], 'line 1: /images/0.jpg must be relative to data_root'),
        (['images/0.jpg /masks/0.png'], 'line 1: /masks/0.png must be relative'),
        (['../images/0.jpg'], 'line 1: ../images/0.jpg must be relative'),
        (['images/0.jpg', '', 'images/1.jpg'], 'line 2: is blank'),
        (['# my split', 'images/0.jpg'], 'line 1: is a comment'),
    ],
)
def test_bad_lines_are_named(split, lines, message):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(f'list.txt, {message}')):
        dataset_of(split, *lines)


@pytest.mark.parametrize('line', [b'images/\xff.jpg', b'images/0.jpg\0'])
def test_a_list_that_is_no_text_is_named(split, line):
    path = split[0] / 'bytes.txt'
    path.write_bytes(b'images/0.jpg\n' + line)
    with pytest.raises(ValueError, match='bytes.txt, line 2: is no UTF-8 text'):
        ImageListDataset(str(path), str(split[0]))


def test_empty_and_missing_lists(split):
    with pytest.raises(ValueError, match='labelled.txt: lists no image'):
        (split[0] / 'labelled.txt').write_text('')
        dataset_of(split)
    with pytest.raises(FileNotFoundError, match='nowhere.txt: no such list'):
        ImageListDataset('nowhere.txt')


class TestTags:
    def test_from_a_file_that_knows_more_images(self, split):
        tags = write_lines(split[0] / 'tags.txt', *(f'images/{i}.jpg {i} 3 {i}' for i in range(5)))
        found = [entry['image_tags'] for entry in entries(dataset_of(split, tags=tags))]
        assert found == [(0, 3), (1, 3), (2, 3)]

    @pytest.mark.parametrize(
        ('lines', 'message'),
        [
            (['images/0.jpg 1'], 'labelled.txt, line 2: images/1.jpg has no line in '),
            (['images/0.jpg cat'], "tags.txt, line 1: 'image id id ...' with whole numbers, not c"),
            (['images/0.jpg -1'], "tags.txt, line 1: 'image id id ...' with whole"),
            (['images/0.jpg 1 4'], 'tags.txt, line 1: id 4 of 4 ids 0..3'),
            (['images/0.jpg 1', 'images/0.jpg 2'], 'tags.txt, line 2: names images/0.jpg again'),
        ],
    )
    def test_mistakes_are_named(self, split, lines, message):
        tags = write_lines(split[0] / 'tags.txt', *lines)
        with pytest.raises(ValueError, match=re.escape(message)):
            dataset_of(split, tags=tags, categories=['a', 'b', 'c'])

    def test_from_masks_that_are_not_trained_on(self, split):
        pipeline = [*LOADING, dict(type='SetImageTags'), dict(type='MarkValidPixels')]
        sample = dataset_of(split, tags='masks', masks=False, pipeline=pipeline)[1]
        mask = np.asarray(Image.open(split[0] / 'masks/1.png'))
        assert sample['image_tags'] == tuple(sorted({0, *mask.flat} - {255}))
        assert not sample['has_mask'] and not sample['gt_seg_map'].any()
        with pytest.raises(ValueError, match="line 1: tags='masks' needs a mask beside"):
            dataset_of(split, 'images/0.jpg', tags='masks')


def test_label_maps_below_a_folder_may_be_made_later(split):
    root = split[0]
    pipeline = [dict(type='LoadBoundedImage'), dict(type='LoadLabelMap')]
    dataset = dataset_of(split, label_folder=str(root / 'made'), pipeline=pipeline)
    with pytest.raises(FileNotFoundError, match=r'made/images/0.png: no such mask'):
        dataset[0]
    height, width = Image.open(root / 'images/0.jpg').size[::-1]
    write_label_map(root / 'made/images/0.png', np.full((height, width), 919))
    assert (dataset[0]['gt_seg_map'] == 919).all()
    write_image(root / 'images/0.png', np.zeros((8, 8, 3)))
    both = dataset_of(split, 'images/0.jpg', 'images/0.png', label_folder='made')
    paths = [str(root / 'made' / both.label_map_name(i)) for i in range(2)]
    assert paths == [*both.label_paths()] and paths[0].endswith('made/images/0.jpg.png')
    for contradiction in (dict(masks=False), dict(tags='masks')):
        with pytest.raises(ValueError, match="label_folder='made' replaces the masks"):
            dataset_of(split, label_folder='made', **contradiction)


def test_fingerprint_follows_list_masks_and_tags(split):
    root = split[0]
    before = dataset_of(split).fingerprint()
    assert dataset_of(split).fingerprint() == before
    moved = shutil.copytree(root, root / 'moved')
    assert ImageListDataset(str(moved / 'labelled.txt'), str(moved)).fingerprint() == before
    assert dataset_of(split, masks=False).fingerprint() != before
    found = set()
    for number in (1, 2):
        tags = write_lines(root / 'tags.txt', *(f'images/{i}.jpg {number}' for i in range(3)))
        found.add(dataset_of(split, tags=tags).fingerprint())
    assert len(found | {before}) == 3
    with (root / 'masks/1.png').open('ab') as file:
        file.write(b'x')
    assert dataset_of(split).fingerprint() != before
