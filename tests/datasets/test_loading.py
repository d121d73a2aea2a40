from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from PIL import Image

from luss_mm.datasets.image_file import ImageFileError, read_image, read_image_size
from luss_mm.datasets.image_walk import walk_images
from luss_mm.datasets.mask_files import read_label_map
from luss_mm.datasets.transforms import LoadBoundedImage, LoadLabelMap
from tests.bad_images import bomb, with_chunk_of
from tests.tiny_layout import write_image, write_label_map


def ramp(height, width):
    """Image whose blue channel grows from left to right and green from top to bottom."""
    x, y = (255 * (np.arange(n) + 0.5) / n for n in (width, height))
    return np.stack(np.broadcast_arrays(x[None], y[:, None], 0.0), -1).round()


def load(path, max_side=2048):
    return LoadBoundedImage(max_side).transform(dict(img_path=str(path)))


@pytest.mark.parametrize(('suffix', 'tolerance'), [('.JPEG', 8), ('.png', 2)])
@pytest.mark.parametrize(
    ('height', 'width', 'expected'),
    [
        (40, 6000, (14, 2048)),
        (6000, 40, (2048, 14)),
        (3, 20000, (4, 2048)),
        (1, 5000, (4, 2048)),
        (1200, 4100, (599, 2048)),
        (30, 2048, (30, 2048)),
        (30, 2049, (30, 2048)),
    ],
)
def test_large_images_are_bounded(tmp_path, suffix, tolerance, height, width, expected):
    path = write_image(tmp_path / f'image{suffix}', ramp(height, width))
    results = load(path)
    assert results['img'].shape == (*expected, 3) and results['img'].dtype == np.uint8
    assert results['img_shape'] == expected and results['ori_shape'] == (height, width)
    if min(expected) > 10:
        assert np.abs(results['img'].astype(int) - ramp(*expected)).max() <= tolerance


def test_a_large_jpeg_is_decoded_small(tmp_path, monkeypatch):
    path = write_image(tmp_path / 'image.JPEG', ramp(2100, 1600))
    decoded, imread = [], cv2.imread

    def watched(*args):
        decoded.append(imread(*args))
        return decoded[-1]

    monkeypatch.setattr(cv2, 'imread', watched)
    results = load(path, max_side=500)
    assert decoded[0].shape == (525, 400, 3) and results['img'].shape == (500, 381, 3)
    assert results['ori_shape'] == (2100, 1600)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp'])
@pytest.mark.parametrize('orientation', range(1, 10))  # 9 is none
def test_images_are_turned_as_people_see_them(tmp_path, orientation, suffix):
    """As OpenCV does, which Python's users read arrays with."""
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(ramp(60, 80).astype(np.uint8)).save(path, exif=exif)
    seen, stored = cv2.imread(str(path)), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    results = load(path)
    np.testing.assert_array_equal(results['img'], seen)
    np.testing.assert_array_equal(read_image(path), seen)
    assert results['ori_shape'] == read_image_size(path) == seen.shape[:2]
    assert load(path, 40)['img'].shape == ((40, 30, 3) if 5 <= orientation < 9 else (30, 40, 3))
    results = LoadBoundedImage(stored_pixels=True).transform(dict(img_path=str(path)))
    np.testing.assert_array_equal(results['img'], stored)
    np.testing.assert_array_equal(read_image(path, stored_pixels=True), stored)
    assert results['ori_shape'] == read_image_size(path, stored_pixels=True) == (60, 80)


@pytest.mark.parametrize('suffix', ['tif', 'avif', 'heic'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_images_that_pillow_reads_are_turned_too(tmp_path, orientation, suffix):
    """Some of its plugins turn by themselves, others leave it to the reader."""
    if suffix == 'heic':
        pytest.importorskip('pillow_heif')
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(ramp(60, 80).astype(np.uint8))
    image.save(tmp_path / f'a.{suffix}', exif=exif.tobytes(), quality=95)
    image.save(tmp_path / 'a.png', exif=exif)
    seen, found = read_image(tmp_path / 'a.png'), load(tmp_path / f'a.{suffix}')
    assert np.abs(found['img'].astype(int) - seen).max() <= 16
    assert found['ori_shape'] == read_image_size(tmp_path / f'a.{suffix}') == seen.shape[:2]


@pytest.mark.skipif(find_spec('pillow_heif') is not None, reason='the reader is there')
def test_heic_without_its_reader_names_the_reader(tmp_path):
    path = tmp_path / 'IMG_1.HEIC'
    path.write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(200))
    assert 'IMG_1.HEIC' in list(walk_images(tmp_path))
    with pytest.raises(ImageFileError, match=r'HEIC, which pillow-heif reads: pip install'):
        read_image(path)


@pytest.mark.parametrize('content', [b'', b'II*\0\xff\xff\xff\xff', b'x' * 60])
def test_malformed_blocks_turn_nothing(tmp_path, content):
    Image.fromarray(ramp(60, 80).astype(np.uint8)).save(
        tmp_path / 'a.jpg', exif=b'Exif\0\0' + content
    )
    assert load(tmp_path / 'a.jpg')['ori_shape'] == (60, 80)


def test_masks_are_compared_with_what_people_see(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(ramp(6, 8).astype(np.uint8)).save(tmp_path / 'a.jpg', exif=exif)
    loading = [LoadBoundedImage(), LoadLabelMap()]
    entry = dict(img_path=str(tmp_path / 'a.jpg'), seg_map_path=str(tmp_path / 'a.png'))
    upright = np.arange(48).reshape(8, 6)
    write_label_map(tmp_path / 'a.png', upright)
    results = loading[1].transform(loading[0].transform(dict(entry)))
    np.testing.assert_array_equal(results['gt_seg_map'], upright)
    write_label_map(tmp_path / 'a.png', upright.T)
    with pytest.raises(ValueError, match=r'the mask is \(6, 8\), its image'):
        loading[1].transform(loading[0].transform(dict(entry)))
    loading[0].stored_pixels = True
    loading[1].transform(loading[0].transform(dict(entry)))


def label_results(tmp_path, labels, image_size=None):
    size = image_size or labels.shape
    image = write_image(tmp_path / 'image.png', np.zeros((*size, 3)))
    return load(image) | dict(
        seg_map_path=str(write_label_map(tmp_path / 'mask.png', labels)), seg_fields=[]
    )


@pytest.mark.parametrize('label', [0, 1, 254, 255, 256, 511, 919, 1000])
def test_red_plus_256_green(tmp_path, label):
    results = LoadLabelMap().transform(label_results(tmp_path, np.full((5, 7), label)))
    labels = results['gt_seg_map']
    assert labels.dtype == np.int32 and labels.shape == (5, 7) and (labels == label).all()
    assert results['seg_fields'] == ['gt_seg_map']


def test_images_without_label_map(tmp_path):
    results = load(write_image(tmp_path / 'image.png', np.zeros((5, 7, 3))))
    assert 'gt_seg_map' not in LoadLabelMap(match_image=False).transform(dict(results))
    with pytest.raises(ValueError, match='image.png: has no label map. Set match_image=False'):
        LoadLabelMap().transform(dict(results))


def test_colours_with_blue_are_no_ids(tmp_path):
    path = write_image(tmp_path / 'mask.png', np.full((2, 2, 3), (77, 3, 9)))
    with pytest.raises(ValueError, match='mask.png: its blue channel'):
        read_label_map(path)


def test_label_maps_follow_a_bounded_image(tmp_path):
    labels = np.repeat(np.array([[0, 255, 919, 1000]]), 3000 // 4, axis=1).repeat(10, axis=0)
    results = label_results(tmp_path, labels)
    results['img'] = results['img'][:, :1000]  # as if the image had been bounded to a third
    matched = LoadLabelMap().transform(dict(results, seg_fields=[]))['gt_seg_map']
    expected = np.repeat([0, 255, 919, 1000], 250)
    assert matched.shape == results['img'].shape[:2] and (matched == expected).all()
    whole = LoadLabelMap(match_image=False).transform(dict(results, seg_fields=[]))['gt_seg_map']
    np.testing.assert_array_equal(whole, labels)


def test_a_mask_of_another_size_is_named(tmp_path):
    results = label_results(tmp_path, np.zeros((5, 7), int), image_size=(7, 5))
    with pytest.raises(ValueError, match=r'mask.png: the mask is \(5, 7\), its image .*image.png'):
        LoadLabelMap().transform(results)


@pytest.mark.parametrize(
    'array',
    [
        np.zeros((6, 8)),
        np.zeros((6, 8, 4)),
        np.zeros((6, 8), np.uint16),
        np.zeros((6, 8, 3), np.uint16),
    ],
    ids=['grey', 'rgba', 'grey 16 bit', 'rgb 16 bit'],
)
def test_masks_that_are_not_rgb_bytes_are_named(tmp_path, array):
    with pytest.raises(ValueError, match=r'mask.png: of shape \(6, 8.*RGB PNG'):
        read_label_map(write_image(tmp_path / 'mask.png', array))


def test_unreadable_and_missing_masks_are_named(tmp_path):
    (tmp_path / 'mask.png').write_bytes(b'no png')
    with pytest.raises(ValueError, match='mask.png: unreadable'):
        read_label_map(tmp_path / 'mask.png')
    with pytest.raises(FileNotFoundError, match='gone.png: no such mask'):
        read_label_map(tmp_path / 'gone.png')


@pytest.mark.parametrize('size', [(60_000, 60_000), (15_000, 15_000), (2**20 + 1, 2)])
def test_masks_too_large_to_decode_are_named(tmp_path, monkeypatch, size):
    if size[0] * size[1] > 2**27:  # OpenCV would try, and take 3 bytes a pixel
        monkeypatch.setattr(cv2, 'imread', lambda *_: pytest.fail('OpenCV was asked'))
    (tmp_path / 'mask.png').write_bytes(bomb(*size))
    with pytest.raises(ValueError, match='mask.png: unreadable'):
        read_label_map(tmp_path / 'mask.png')


def test_a_mask_with_a_chunk_of_4_gigabytes_is_named(tmp_path, monkeypatch):
    path = write_label_map(tmp_path / 'mask.png', np.ones((6, 8)))
    path.write_bytes(with_chunk_of(path.read_bytes(), 2**32 - 9))
    monkeypatch.setattr(cv2, 'imread', lambda *_: pytest.fail('OpenCV would take memory for it'))
    with pytest.raises(ValueError, match='mask.png: unreadable'):
        read_label_map(path)
