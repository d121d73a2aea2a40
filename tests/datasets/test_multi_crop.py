import cv2
import numpy as np
import pytest
import torch

from luss_mm.datasets.transforms import MultiCrop, multi_crop
from luss_mm.functional.colour_changes import change_colours

SMALL = [dict(num=2, size=24, scale=(0.14, 1.0)), dict(num=6, size=10, scale=(0.05, 0.14))]
WITHOUT_COLOUR = dict(jitter_prob=0, grey_prob=0, blur_prob=0)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_views(image, seed=0, **settings):
    np.random.seed(seed)
    return MultiCrop(**settings).transform(dict(img=image, img_path='dropped'))


@pytest.mark.parametrize('shape', [(70, 50), (50, 70), (9, 300), (1, 1)])
def test_recorded_crops_describe_the_pixels(shape):
    image = noise(*shape)
    for seed in range(20):
        results = make_views(image, seed, views=SMALL, **WITHOUT_COLOUR)
        for view, crop in zip(results['inputs'], results['crops'].tolist(), strict=True):
            left, top, width, height, flipped = map(int, crop)
            assert crop == [left, top, width, height, flipped] and flipped in (0, 1)
            size = view.shape[1]
            how = cv2.INTER_AREA if min(width, height) > size else cv2.INTER_LINEAR
            cut = image[top : top + height, left : left + width]
            assert cut.shape[:2] == (height, width)
            expected = cv2.resize(cut, (size, size), interpolation=how)[..., ::-1]  # RGB
            expected = expected[:, ::-1] if flipped else expected
            np.testing.assert_array_equal(view.numpy(), expected.transpose(2, 0, 1))


def test_pixel_centres_lie_where_the_crop_says():
    """Without OpenCV: in an image of coordinates each view must hold the coordinates it names."""
    y, x = np.mgrid[:240, :250]
    image = np.stack([x, y, 0 * x], -1).astype(np.uint8)  # BGR: blue = x, green = y
    both = set()
    for seed in range(10):
        results = make_views(image, seed, views=SMALL, **WITHOUT_COLOUR)
        for view, crop in zip(results['inputs'], results['crops'].tolist(), strict=True):
            left, top, width, height, flipped = crop
            size = view.shape[1]
            centres = (np.arange(size) + 0.5) / size
            expected_x = left + width * centres - 0.5
            expected_x = expected_x[::-1] if flipped else expected_x
            expected_y = top + height * centres - 0.5
            inner = slice(1, -1)  # enlarging repeats the border
            for found, expected in (
                (view[2].numpy()[:, inner], expected_x[inner]),
                (view[1].numpy().T[:, inner], expected_y[inner]),
            ):
                np.testing.assert_allclose(found, [expected] * size, atol=1)
            both.add(flipped)
    assert both == {0.0, 1.0}


def test_augmentation_is_swavs_by_default(monkeypatch):
    """Jitter (.8, .8, .8, .2) p .8, grey p .2, blur p .5 with sigma .1 to 2, flip p .5."""
    calls = dict(jitter=[], grey=[], blur=[])
    drawn = ([1, 1, 1, 0], [0, 1, 2, 3])
    monkeypatch.setattr(multi_crop, 'draw_jitter', lambda *s: calls['jitter'].append(s) or drawn)
    monkeypatch.setattr(multi_crop, 'apply_jitter', lambda image, *s: image)
    monkeypatch.setattr(multi_crop, 'to_grey', lambda image: calls['grey'].append(1) or image)
    monkeypatch.setattr(multi_crop, 'blur', lambda image, s: calls['blur'].append(s) or image)
    views = [dict(num=4000, size=2, scale=(0.5, 1.0))]
    flipped = make_views(noise(4, 4), views=views)['crops'][:, 4].mean().item()
    shares = {name: len(made) / 4000 for name, made in calls.items()} | dict(flip=flipped)
    for name, expected in dict(jitter=0.8, grey=0.2, blur=0.5, flip=0.5).items():
        assert abs(shares[name] - expected) < 0.03, (name, shares)  # four standard errors
    assert set(calls['jitter']) == {(0.8, 0.8, 0.8, 0.2)}
    sigma = np.array(calls['blur'])
    assert 0.1 <= sigma.min() < 0.12 and 1.98 < sigma.max() <= 2.0
    assert abs(sigma.mean() - 1.05) < 0.05


def test_the_image_is_not_changed_and_the_seed_decides():
    image = noise(40, 30)
    before = image.copy()
    first, again = (make_views(image, 5, views=SMALL) for _ in range(2))
    np.testing.assert_array_equal(image, before)
    assert all(map(torch.equal, first['inputs'], again['inputs']))
    other = make_views(image, 6, views=SMALL)
    assert not any(map(torch.equal, first['inputs'], other['inputs']))


def test_colours_on_the_device_are_those_of_the_loader():
    """Smooth images: what is left is OpenCV's 8-bit hue."""
    image = cv2.resize(noise(12, 15), (200, 160), interpolation=cv2.INTER_CUBIC)
    for seed in range(10):
        expected = make_views(image, seed, views=SMALL)
        results = make_views(image, seed, views=SMALL, colours_on_device=True)
        assert torch.equal(results['crops'], expected['crops'])
        changes = results['colour_changes']
        assert changes.shape == (8, 10) and changes.dtype == torch.float32
        for view, change, wanted in zip(
            results['inputs'], changes, expected['inputs'], strict=True
        ):
            found = change_colours(view[None], change[None])[0]
            assert (found - wanted).abs().mean() < 4
