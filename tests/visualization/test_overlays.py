import numpy as np
import pytest

from luss_mm.functional.label_codec import category_palette
from luss_mm.visualization import blend_labels, picture_strip, save_picture, score_heatmap


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
