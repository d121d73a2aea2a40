import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmseg.registry import TRANSFORMS
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional

from luss_mm.datasets.transforms import MultiCrop, colours
from luss_mm.functional.colour_changes import change_colours

PUBLISHED = [dict(num=2, size=224, scale=(0.14, 1.0)), dict(num=6, size=96, scale=(0.05, 0.14))]
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


def test_order_sizes_and_keys():
    results = make_views(noise(256, 300), views=PUBLISHED)
    assert set(results) == {'inputs', 'crops'}
    assert [tuple(v.shape) for v in results['inputs']] == [(3, 224, 224)] * 2 + [(3, 96, 96)] * 6
    assert all(v.dtype == torch.uint8 and v.is_contiguous() for v in results['inputs'])
    crops = results['crops']
    assert crops.shape == (8, 5) and crops.dtype == torch.float32
    share = crops[:, 2] * crops[:, 3] / (256 * 300)
    assert (share[:2] > 0.13).all() and (share[2:] < 0.15).all() and (share[2:] > 0.045).all()


def test_batches_are_one_tensor_a_view():
    samples = [make_views(noise(30, 40), seed, views=SMALL) for seed in range(3)]
    batch = default_collate(samples)
    assert [tuple(v.shape) for v in batch['inputs']] == [(3, 3, 24, 24)] * 2 + [(3, 3, 10, 10)] * 6
    assert batch['crops'].shape == (3, 8, 5)
    assert torch.equal(batch['inputs'][7][1], samples[1]['inputs'][7])


def test_augmentation_is_swavs_by_default(monkeypatch):
    """Jitter (.8, .8, .8, .2) p .8, grey p .2, blur p .5 with sigma .1 to 2, flip p .5."""
    calls = dict(jitter=[], grey=[], blur=[])
    drawn = ([1, 1, 1, 0], [0, 1, 2, 3])
    monkeypatch.setattr(colours, 'draw_jitter', lambda *s: calls['jitter'].append(s) or drawn)
    monkeypatch.setattr(colours, 'apply_jitter', lambda image, *s: image)
    monkeypatch.setattr(colours, 'to_grey', lambda image: calls['grey'].append(1) or image)
    monkeypatch.setattr(colours, 'blur', lambda image, s: calls['blur'].append(s) or image)
    views = [dict(num=4000, size=2, scale=(0.5, 1.0))]
    flipped = make_views(noise(4, 4), views=views)['crops'][:, 4].mean().item()
    shares = {name: len(made) / 4000 for name, made in calls.items()} | dict(flip=flipped)
    for name, expected in dict(jitter=0.8, grey=0.2, blur=0.5, flip=0.5).items():
        assert abs(shares[name] - expected) < 0.03, (name, shares)  # four standard errors
    assert set(calls['jitter']) == {(0.8, 0.8, 0.8, 0.2)}
    sigma = np.array(calls['blur'])
    assert 0.1 <= sigma.min() < 0.12 and 1.98 < sigma.max() <= 2.0
    assert abs(sigma.mean() - 1.05) < 0.05


def test_colours_are_changed_as_rgb():
    """Grey of a pure red image (BGR in, RGB out) is 255 * .299."""
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 2] = 255
    views = [dict(num=1, size=8, scale=(0.5, 1.0))]
    plain = make_views(red, views=views, **WITHOUT_COLOUR)['inputs'][0]
    assert plain[0].min() == 255 and plain[1:].max() == 0
    grey = make_views(red, views=views, jitter_prob=0, grey_prob=1, blur_prob=0)['inputs'][0]
    assert torch.equal(grey, torch.full_like(grey, 76))


def test_the_image_is_not_changed_and_the_seed_decides():
    image = noise(40, 30)
    before = image.copy()
    first, again = (make_views(image, 5, views=SMALL) for _ in range(2))
    np.testing.assert_array_equal(image, before)
    assert all(map(torch.equal, first['inputs'], again['inputs']))
    other = make_views(image, 6, views=SMALL)
    assert not any(map(torch.equal, first['inputs'], other['inputs']))


def test_built_from_a_config():
    views = [dict(num=1, size=8, scale=[0.2, 1])]
    transform = TRANSFORMS.build(dict(type='MultiCrop', views=views))
    assert len(transform(dict(img=noise(10, 10)))['inputs']) == 1


def test_misspelt_view_keys_are_named():
    with pytest.raises(ValueError, match='szie'):
        MultiCrop(views=[dict(num=2, szie=8, scale=(0.3, 1.0))])


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


def test_views_have_the_distribution_of_torchvision():
    """Area, shape and place of the crops, and the mean and spread of their colours."""
    scale, count = (0.14, 1.0), 3000
    image = cv2.resize(noise(8, 10), (100, 80), interpolation=cv2.INTER_CUBIC)
    ours = make_views(image, views=[dict(num=count, size=8, scale=scale)], blur_prob=0)
    torch.manual_seed(0)
    picture = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
    boxes = [RandomResizedCrop.get_params(picture, scale, [3 / 4, 4 / 3]) for _ in range(count)]
    theirs = torch.tensor([(left, top, w, h) for top, left, h, w in boxes], dtype=torch.float32)
    found = ours['crops'][:, :4]
    for name, of in dict(
        left=lambda c: c[:, 0],
        top=lambda c: c[:, 1],
        area=lambda c: c[:, 2] * c[:, 3],
        aspect=lambda c: (c[:, 2] / c[:, 3]).log(),
    ).items():
        assert ks_2samp(of(found), of(theirs)).pvalue > 1e-3, name
    distort = T.Compose(
        [
            T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
            T.RandomGrayscale(0.2),
        ]
    )
    resized = [
        functional.resized_crop(picture, top, left, h, w, [8, 8], antialias=True)
        for top, left, h, w in boxes
    ]
    wanted = torch.stack([distort(view) for view in resized]).float()
    made = torch.stack(ours['inputs']).float()
    for channel in range(3):
        for of in (lambda v: v.mean((1, 2)), lambda v: v.std((1, 2))):
            a, b = of(made[:, channel]), of(wanted[:, channel])
            assert abs(a.mean() - b.mean()) < 0.1 * b.mean()
            assert abs(a.std() - b.std()) < 0.1 * b.std()
