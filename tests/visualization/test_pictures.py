import cv2
import numpy as np
import pytest

from luss_mm.functional.label_codec import category_palette
from luss_mm.visualization import (
    blend_labels,
    contact_sheet,
    picture_strip,
    save_picture,
    score_heatmap,
)


def noise_picture(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class TestBlendLabels:
    def test_others_stay_and_labels_are_mixed_with_their_colour(self):
        image, palette = noise_picture(), category_palette(300)
        labels = np.zeros((20, 30), np.int64)
        labels[5:10, 5:10] = 3
        labels[12:15] = 255  # an ordinary id
        picture = blend_labels(image, labels, palette, opacity=0.25)
        np.testing.assert_array_equal(picture[labels == 0], image[labels == 0])
        for label in (3, 255):
            expected = 0.75 * image[labels == label] + 0.25 * palette[label]
            np.testing.assert_allclose(picture[labels == label], expected, atol=0.51)

    def test_ignored_pixels_are_hatched_even_without_a_colour_of_that_id(self):
        image = np.full((20, 30, 3), 77, np.uint8)
        labels = np.full((20, 30), 1000)
        labels[0, 0] = 0
        picture = blend_labels(image, labels, category_palette(2), opacity=1)
        assert picture[0, 0].tolist() == [77, 77, 77]
        rest = picture.reshape(-1, 3)[1:]
        assert (rest == rest[:, :1]).all()  # grey
        assert len(np.unique(rest)) == 2  # in stripes of two greys

    @pytest.mark.parametrize('label', [5, -1])
    def test_a_label_without_a_colour_is_named(self, label):
        labels = np.zeros((20, 30), int)
        labels[3, 3] = label
        with pytest.raises(ValueError, match=f'{label}.*palette has 5'):
            blend_labels(noise_picture(), labels, category_palette(5))


class TestScoreHeatmap:
    def test_brightness_rises_with_the_score(self):
        heat = score_heatmap(np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(4, 0))
        assert heat.shape == (4, 64, 3) and heat.dtype == np.uint8
        brightness = heat[0].astype(float) @ [0.299, 0.587, 0.114]
        assert (np.diff(brightness) > -1).all() and brightness[-1] - brightness[0] > 100

    def test_outside_is_clipped_and_nan_is_grey(self):
        heat = score_heatmap(np.array([[-3.0, 0.0, 1.0, 9.0, np.nan]]))
        assert heat[0, 0].tolist() == heat[0, 1].tolist()
        assert heat[0, 2].tolist() == heat[0, 3].tolist()
        assert len(set(heat[0, 4].tolist())) == 1


class TestPictureStrip:
    def test_pictures_of_any_size_become_equally_high_and_keep_their_proportions(self):
        red = np.zeros((50, 100, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
        blue = np.zeros((400, 200, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
        strip = picture_strip([('image', red), ('truth', blue)], height=80)
        reds = np.argwhere((strip == [255, 0, 0]).all(-1))
        blues = np.argwhere((strip == [0, 0, 255]).all(-1))
        assert np.ptp(reds, axis=0).tolist() == [79, 159]
        assert np.ptp(blues, axis=0).tolist() == [79, 39]
        assert reds[:, 1].max() < blues[:, 1].min()


class TestSavePicture:
    def test_a_failing_write_leaves_the_old_picture_and_no_rubbish(self, tmp_path, monkeypatch):
        path = tmp_path / 'a.png'
        save_picture(path, noise_picture(seed=1))
        before = path.read_bytes()

        def full_disk(*_):
            raise OSError('No space left on device')

        monkeypatch.setattr('os.replace', full_disk)
        with pytest.raises(OSError, match='No space'):
            save_picture(path, noise_picture(seed=2))
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ['a.png']


def write_image(path, colour, height=30, width=50):
    image = np.zeros((height, width, 3), np.uint8) + np.array(colour, np.uint8)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def pixels_of(sheet, colour):
    return np.argwhere((sheet == colour).all(-1))


def test_tiles_are_square_and_in_rows(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    sizes = [(30, 50), (70, 20), (8, 8)]
    paths = [
        write_image(tmp_path / f'{i}.png', colour, *size)
        for i, (colour, size) in enumerate(zip(colours, sizes, strict=True))
    ]
    sheet = contact_sheet(paths, columns=2, tile=24)
    assert sheet.dtype == np.uint8
    corners = []
    for colour in colours:
        where = pixels_of(sheet, colour)
        assert np.ptp(where, axis=0).tolist() == [23, 23] and len(where) == 24 * 24
        corners.append(where.min(0))
    assert corners[0][0] == corners[1][0] < corners[2][0]
    assert corners[0][1] == corners[2][1] < corners[1][1]


@pytest.mark.parametrize('content', [None, b'', b'no image at all', b'\xff\xd8\xff\xe0 cut'])
def test_unreadable_files_become_crossed_grey_tiles(tmp_path, content):
    good = write_image(tmp_path / 'good.png', (0, 200, 0))
    bad = tmp_path / 'bad.JPEG'
    if content is not None:
        bad.write_bytes(content)
    sheet = contact_sheet([bad, good], columns=2, tile=32)
    assert len(pixels_of(sheet, (0, 200, 0))) == 32 * 32
    tile = sheet[4:36, 4:36]
    assert tile.std() > 0  # the cross and the name
    assert (tile[..., 0] == tile[..., 2])[[0, -1]].all()  # grey
    corners, edge = tile[[0, 0, -1, -1], [0, -1, 0, -1], 0], tile[16, 0, 0]
    assert (corners < edge).all()
