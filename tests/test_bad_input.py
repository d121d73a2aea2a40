"""What becomes of every kind of image and mask; docs/reliability.md has the same table."""

import builtins
import os

import numpy as np
import pytest

from luss_mm.datasets.image_file import ImageFileError, find_image_problem
from luss_mm.datasets.image_index import scan_images
from luss_mm.datasets.transforms import LoadBoundedImage, LoadLabelMap
from luss_mm.pipeline.check_images import CheckedDataset
from luss_mm.recipes.image_preparation import ImagePreparation
from tests.bad_images import (
    HEIGHT,
    WIDTH,
    animated,
    bomb,
    encoded,
    half,
    link_to,
    picture,
    sixteen_bits,
    turned,
    with_chunk_of,
    with_thumbnail,
    without_code_tables,
    write,
    zeros_behind_half,
)
from tests.tiny_layout import write_image, write_label_map

JPEG, PNG = encoded(picture(), 'JPEG'), encoded(picture(), 'PNG')
SIZE = (HEIGHT, WIDTH)

# Name, content, and the size that training gets.
USED = {
    'whole': ('a.JPEG', JPEG, SIZE),
    'progressive': ('a.jpg', encoded(picture(), 'JPEG', progressive=True), SIZE),
    'CMYK': ('a.jpg', encoded(picture('CMYK'), 'JPEG'), SIZE),
    'grey': ('a.jpg', encoded(picture('L'), 'JPEG'), SIZE),
    'palette': ('a.png', encoded(picture('P'), 'PNG'), SIZE),
    'black and white': ('a.png', encoded(picture('1'), 'PNG'), SIZE),
    '16 bit': ('a.png', sixteen_bits(), SIZE),
    'alpha': ('a.png', encoded(picture('RGBA'), 'PNG'), SIZE),
    'animated PNG': ('a.png', animated('PNG'), SIZE),
    'animated WebP': ('a.webp', animated('WEBP'), SIZE),
    'animated GIF with a wrong extension': ('a.jpg', animated('GIF'), SIZE),
    'PNG with a wrong extension': ('a.JPEG', PNG, SIZE),
    'TIFF with a wrong extension': ('a.bmp', encoded(picture(), 'TIFF'), SIZE),
    'turned by EXIF': ('a.jpg', turned(), SIZE[::-1]),
    'bytes after the end': ('a.jpg', JPEG + b'appended', SIZE),
    'thumbnail inside': ('a.jpg', with_thumbnail(), SIZE),
    '1 x 1': ('a.png', encoded(picture(size=(1, 1)), 'PNG'), (1, 1)),
    '20000 x 50': ('a.jpg', encoded(picture(size=(20000, 50)), 'JPEG'), (5, 2048)),
    '1 x 20000': ('a.png', encoded(picture(size=(1, 20000)), 'PNG'), (2048, 4)),
    'name beyond ASCII': ('图 ünïcødé\n.jpg', JPEG, SIZE),
    'name of 255 bytes': ('x' * 251 + '.jpg', JPEG, SIZE),
}
BAD = {
    'truncated JPEG': ('a.JPEG', JPEG[:-40], f'truncated after {len(JPEG) - 40:,} bytes'),
    'truncated behind a thumbnail': ('a.jpg', with_thumbnail()[:-9], 'truncated after'),
    'zeros instead of data': ('a.jpg', zeros_behind_half(JPEG), 'truncated after'),
    'header alone': ('a.jpg', JPEG[:60], 'not a readable image'),
    'truncated PNG': ('a.png', half(PNG), f'truncated after {len(half(PNG)):,} bytes'),
    'PNG with a chunk of 4 GB': ('a.png', with_chunk_of(PNG, 0xF1977388), 'truncated after'),
    'changed PNG': ('a.png', zeros_behind_half(PNG), 'cannot be decoded'),
    'truncated WebP': ('a.webp', half(encoded(picture(), 'WEBP')), 'not a readable image'),
    'truncated BMP': ('a.bmp', half(encoded(picture(), 'BMP')), 'cannot be decoded'),
    'zero bytes': ('a.JPEG', b'', 'empty, it has 0 bytes'),
    'text': ('a.JPEG', b'<html>404</html>', 'not a readable image, its format is unknown'),
    'decompression bomb': ('a.png', bomb(60000, 60000), 'exceeds limit of 178956970 pixels'),
    'small bomb': ('a.png', bomb(9000, 9000), 'cannot be decoded'),
    'link to itself': ('a.jpg', link_to('a.jpg'), 'Too many levels of symbolic links'),
    'link to nowhere': ('a.jpg', link_to('gone.jpg'), 'No such file'),
    'name that is not UTF-8': (os.fsdecode(b'\xff.jpg'), JPEG, 'name is not UTF-8'),
}


def prepare(path):
    """As inference does."""
    packing = dict(type='PackSegInputs', meta_keys=())
    return ImagePreparation([dict(type='LoadBoundedImage'), packing])((0, path))


@pytest.mark.parametrize('kind', USED)
def test_images_that_are_used(kind, tmp_path):
    name, content, size = USED[kind]
    path = write(tmp_path / name, content)
    assert find_image_problem(path) is None
    image = LoadBoundedImage(2048).transform(dict(img_path=path))['img']
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert prepare(path).problem is None


@pytest.mark.parametrize('kind', BAD)
def test_images_that_are_bad(kind, tmp_path):
    name, content, problem = BAD[kind]
    path = write(tmp_path / name, content)
    assert problem in find_image_problem(path)
    with pytest.raises((ImageFileError, OSError)):
        LoadBoundedImage().transform(dict(img_path=path))
    shown = prepare(path).problem
    assert '\n' not in shown and problem in shown


def test_an_unreadable_image(tmp_path, monkeypatch):
    """Modes would not stop root."""
    path = write(tmp_path / 'a.jpg', JPEG)

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr(builtins, 'open', refuse)
    assert find_image_problem(path) == 'cannot be read (Permission denied)'


def test_a_failing_disk_is_no_bad_image(tmp_path, monkeypatch):
    """It stops a run; every image after it would be skipped otherwise."""
    path = write(tmp_path / 'a.jpg', JPEG)

    def fail(*args):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr('luss_mm.datasets.image_file.Image.open', fail)
    with pytest.raises(OSError, match='Input/output error'):
        LoadBoundedImage().transform(dict(img_path=path))


def test_what_only_decoding_finds(tmp_path):
    path = write(tmp_path / 'a.jpg', without_code_tables(JPEG))
    assert find_image_problem(path) is None
    with pytest.raises(ImageFileError, match='a.jpg: cannot be decoded. Delete or replace it'):
        LoadBoundedImage().transform(dict(img_path=path))


def test_loops_of_links_end(tmp_path):
    for name in ('a/0.jpg', 'b/1.jpg'):
        write_image(tmp_path / name, np.zeros((4, 4, 3)))
    (tmp_path / 'a' / 'up').symlink_to('..')
    (tmp_path / 'b' / 'self').symlink_to('.')
    found = list(scan_images(tmp_path))
    assert found == ['a/0.jpg', 'b/1.jpg']


MASKS = {
    'good': (np.zeros((6, 8), int), None),
    'ignored': (np.full((6, 8), 1000), None),
    'another size': (np.zeros((8, 6), int), 'the mask is (8, 6), its image (6, 8)'),
    'an id above K': (
        np.full((6, 8), 3),
        'has the id 3, and only 0 to 2 and ignore_index=1000 are allowed',
    ),
    '255 is an id': (np.full((6, 8), 255), 'has the id 255'),
    'grey': (np.zeros((6, 8), np.uint8), 'of shape (6, 8), uint8; an ImageNet-S mask is an RGB'),
    'palette of colours': (np.full((6, 8, 3), 9), 'its blue channel is not 0'),
    'no image': (b'mask', 'unreadable; an ImageNet-S mask is an RGB PNG'),
    'missing': (None, 'no such mask'),
}


class OneImage:
    """A data set with names for the ids 0 to 2."""

    metainfo = dict(classes=('others', 'ant', 'bee'))
    ignore_index = 1000

    def __init__(self, image, mask):
        self.entry = dict(img_path=str(image), seg_map_path=str(mask))

    def get_data_info(self, index):
        return self.entry


@pytest.mark.parametrize('kind', MASKS)
def test_masks(kind, tmp_path):
    content, problem = MASKS[kind]
    image, mask = tmp_path / 'a.png', tmp_path / 'mask.png'
    write_image(image, np.zeros((6, 8, 3)))
    if isinstance(content, bytes):
        mask.write_bytes(content)
    elif content is not None:
        is_picture = content.ndim == 3 or content.dtype == np.uint8
        (write_image if is_picture else write_label_map)(mask, content)
    images, masks, _ = CheckedDataset(OneImage(image, mask), LoadLabelMap()).find_problems(0)
    assert images == []
    if problem is None:
        assert masks == []
    else:
        assert masks[0]['image'] == str(mask) and masks[0]['problem'].startswith(problem)
