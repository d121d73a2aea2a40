"""Masks as people have them become ours, or are refused in one line."""

import numpy as np
import pytest
from PIL import Image

from luss_mm.datasets.mask_files import MaskError, convert_masks, look_at_masks, voc_colour
from luss_mm.datasets.transforms.loading import read_label_map
from luss_mm.functional.label_codec import encode_label_map

IDS = np.zeros((10, 12), np.int32)
IDS[2:5, 3:9], IDS[6:8], IDS[8:, :4] = 1, 2, 1000


def as_palette(ids):
    image = Image.fromarray(np.where(ids == 1000, 255, ids).astype(np.uint8), mode='P')
    image.putpalette([v for i in range(256) for v in voc_colour(i)])
    return image


def as_grey(ids):
    return Image.fromarray(np.where(ids == 1000, 255, ids).astype(np.uint8))


def as_deep(ids):
    return Image.fromarray(np.where(ids == 1000, 65535, ids).astype(np.uint16))


def as_grey_colours(ids):
    return as_grey(ids).convert('RGB')


def as_voc_colours(ids):
    colours = {i: voc_colour(i) for i in range(3)} | {1000: (224, 224, 192)}
    return Image.fromarray(np.array([[colours[i] for i in row] for row in ids.tolist()], np.uint8))


def as_ours(ids):
    return Image.fromarray(encode_label_map(ids))


def write(tmp_path, make, mask='a_mask.png', ids=IDS, photograph='a.jpg'):
    for place in (tmp_path / 'masks' / mask, tmp_path / 'images' / photograph):
        place.parent.mkdir(parents=True, exist_ok=True)
    make(ids).save(tmp_path / 'masks' / mask)
    Image.new('RGB', (12, 10)).save(tmp_path / 'images' / photograph)


def convert(tmp_path, **options):
    coding = look_at_masks(tmp_path / 'masks')
    convert_masks(tmp_path / 'masks', tmp_path / 'images', tmp_path / 'out', coding, **options)
    return coding


@pytest.mark.parametrize(
    'make, told',
    [
        (as_palette, 'a palette: 0, 1, 2|0 to 2'),
        (as_grey, 'one channel of 8 bits'),
        (as_deep, 'one channel of 16 bits'),
        (as_grey_colours, 'one channel of 8 bits'),
        (as_voc_colours, 'palette of PASCAL VOC'),
        (as_ours, 'already ours'),
    ],
)
@pytest.mark.parametrize('name', ['a.png', 'a_mask.png', 'trip/a-seg.png'])
def test_every_coding_becomes_ours(tmp_path, make, told, name):
    photograph = name.replace('_mask', '').replace('-seg', '').replace('.png', '.jpg')
    write(tmp_path, make, name, photograph=photograph)
    coding = convert(tmp_path)
    assert any(text in coding.told for text in told.split('|'))
    found = read_label_map((tmp_path / 'out' / photograph).with_suffix('.png'))
    np.testing.assert_array_equal(found, IDS)


def test_other_colours_are_numbered_in_order(tmp_path):
    colours = np.array([(0, 0, 0), (200, 10, 30), (20, 10, 30), (20, 10, 31)], np.uint8)
    for name, ids in (('a', [[0, 1]]), ('b', [[2, 3]])):
        write(
            tmp_path,
            lambda i: Image.fromarray(colours[i]),
            f'{name}.png',
            np.array(ids * 2),
            f'{name}.jpg',
        )
        Image.new('RGB', (2, 2)).save(tmp_path / 'images' / f'{name}.jpg')
    coding = convert(tmp_path)
    assert 'the ids 1 to 3' in coding.told
    assert read_label_map(tmp_path / 'out/a.png').tolist() == [[0, 3]] * 2
    assert read_label_map(tmp_path / 'out/b.png').tolist() == [[1, 2]] * 2


@pytest.mark.parametrize('place', ['masks', '.'])
def test_colours_that_cvat_lists_are_numbered_as_listed(tmp_path, place):
    colours = np.array([(0, 0, 0), (176, 112, 32), (48, 112, 32), (0, 215, 255)], np.uint8)
    ids = np.array([[0, 1], [2, 3]])
    write(tmp_path, lambda _: Image.fromarray(colours[ids].repeat(5, 0).repeat(6, 1)))
    (tmp_path / place / 'labelmap.txt').write_text(
        '# label:color_rgb:parts:actions\nDog:176,112,32::\nBackground:0,215,255::\n'
        'Cat:48,112,32::\nHorse:1,2,3::\n'
    )
    coding = convert(tmp_path)
    assert '1 Dog, 2 Cat, 3 Horse' in coding.told
    found = read_label_map(tmp_path / 'out/a.png')
    np.testing.assert_array_equal(found[::5, ::6], [[0, 1], [2, 0]])
    (tmp_path / place / 'labelmap.txt').write_text('Dog:176,112,32::\n')
    with pytest.raises(MaskError, match=r'labelmap.txt: lacks the colour \(0, 215, 255\)'):
        look_at_masks(tmp_path / 'masks')
    (tmp_path / place / 'labelmap.txt').write_text('Dog 176 112 32\n')
    with pytest.raises(MaskError, match="labelmap.txt: 'Dog 176 112 32' is not NAME:RED"):
        look_at_masks(tmp_path / 'masks')


def test_train_ids_have_no_background(tmp_path):
    write(tmp_path, as_grey, 'a_gtFine_labelTrainIds.png')
    assert 'each id grows by one' in convert(tmp_path).told
    expected = np.where(IDS == 1000, 1000, IDS + 1)
    np.testing.assert_array_equal(read_label_map(tmp_path / 'out/a.png'), expected)


def test_objects_get_the_id_of_their_category_folder(tmp_path):
    for folder in ('ant', 'bee'):
        write(
            tmp_path,
            lambda ids: Image.fromarray(np.uint8(ids == 1) * 255),
            f'{folder}/a.png',
            photograph=f'{folder}/a.jpg',
        )
    assert '255 is object' in convert(tmp_path).told
    assert np.unique(read_label_map(tmp_path / 'out/ant/a.png')).tolist() == [0, 1]
    assert np.unique(read_label_map(tmp_path / 'out/bee/a.png')).tolist() == [0, 2]


@pytest.mark.parametrize('ending', ['.jpg', '.webp'])
def test_formats_that_blur_are_refused(tmp_path, ending):
    write(tmp_path, as_grey, f'a{ending}')
    with pytest.raises(MaskError, match='blurs masks'):
        look_at_masks(tmp_path / 'masks')


def test_photographs_are_no_masks(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    write(tmp_path, lambda _: Image.fromarray(noise))
    with pytest.raises(MaskError, match='more than 256 colours'):
        look_at_masks(tmp_path / 'masks')


def test_masks_that_do_not_fit_are_named_before_anything_is_written(tmp_path):
    write(tmp_path, as_grey)
    write(tmp_path, as_grey, 'b.png', photograph='c.jpg')
    with pytest.raises(MaskError, match='b.png: no photograph'):
        convert(tmp_path)
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'images/c.jpg').rename(tmp_path / 'images/b.jpg')
    Image.new('RGB', (5, 5)).save(tmp_path / 'images/b.jpg')
    with pytest.raises(MaskError, match='b.png: is .10, 12., its photograph'):
        convert(tmp_path)
