import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional as torchvision

from luss_mm.datasets.transforms import DistortColours, RandomColourOperations, strong_operations
from luss_mm.datasets.transforms.strong_operations import COLOUR_OPERATIONS, apply_operations

# Every operation on a PIL image, its strength drawn again after the same seed. Largest and mean
# difference: PIL rounds elsewhere in blends, and its hue has 8 bits; it has no true Gaussian.
PILLOW = dict(
    identity=(lambda image: image, 0, 0),
    autocontrast=(ImageOps.autocontrast, 1, 0.05),
    equalise=(ImageOps.equalize, 0, 0),
    blur=(lambda image: torchvision.gaussian_blur(image, [17, 17], [draw(0.1, 2.0)]), 2, 0.5),
    contrast=(lambda image: ImageEnhance.Contrast(image).enhance(draw(0.05, 0.95)), 1, 1),
    brightness=(lambda image: ImageEnhance.Brightness(image).enhance(draw(0.05, 0.95)), 0, 0),
    colour=(lambda image: ImageEnhance.Color(image).enhance(draw(0.05, 0.95)), 1, 1),
    sharpness=(lambda image: ImageEnhance.Sharpness(image).enhance(draw(0.05, 0.95)), 0, 0),
    posterise=(lambda image: ImageOps.posterize(image, np.random.randint(4, 9)), 0, 0),
    solarise=(lambda image: ImageOps.solarize(image, np.random.randint(1, 257)), 0, 0),
    hue=(lambda image: torchvision.adjust_hue(image, draw(0, 0.5)), 16, 2),
)


def draw(low, high):
    return np.random.uniform(low, high)


@pytest.fixture(scope='module')
def image():
    """Colourful BGR, smooth in part, not square, with black and white. uint8 (48, 64, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 200, (6, 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)
    smooth[30:] = rng.integers(20, 200, (18, 64, 3))
    return smooth


@pytest.mark.parametrize('name', list(COLOUR_OPERATIONS))
def test_operation_is_pillows(name, image):
    operation, largest, mean = PILLOW[name]
    changed = 0
    for seed in range(20):
        np.random.seed(seed)
        ours = apply_operations(image, [name])
        np.random.seed(seed)
        theirs = np.asarray(operation(Image.fromarray(image[..., ::-1].copy())))[..., ::-1]
        found = np.abs(ours.astype(int) - theirs)
        assert ours.dtype == np.uint8 and ours.shape == image.shape
        print(name, found.max(), found.mean())
        assert found.max() <= largest and found.mean() <= mean
        changed += (ours != image).any()
    assert changed >= 12 or name == 'identity'  # 8 bits, 256 and sigma 0.1 change nothing


def test_number_kinds_and_order_are_uniform(image, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        strong_operations,
        'apply_operations',
        lambda image, names, pool: drawn.append(names) or image,
    )
    np.random.seed(0)
    transform = RandomColourOperations()
    for _ in range(6000):
        transform(dict(img=image))
    counts = np.bincount([len(names) for names in drawn], minlength=4)
    assert counts[0] == 0 and (np.abs(counts[1:] - 2000) < 150).all()
    assert all(len(set(names)) == len(names) for names in drawn)
    for place in range(3):
        kinds = [names[place] for names in drawn if len(names) > place]
        expected = len(kinds) / 11
        found = np.array([kinds.count(name) for name in COLOUR_OPERATIONS])
        assert (np.abs(found - expected) < 5 * np.sqrt(expected)).all()


DSSN_PILLOW = dict(
    posterise=lambda image: ImageOps.posterize(image, np.random.randint(4, 8)),
    solarise=lambda image: ImageOps.solarize(image, np.random.randint(1, 256)),
    hue=lambda image: torchvision.adjust_hue(image, draw(0, 0.5) * np.random.choice((-1, 1))),
)


@pytest.mark.parametrize('name', list(COLOUR_OPERATIONS))
def test_operations_of_dssn_are_pillows(name, image):
    operation = DSSN_PILLOW.get(name, PILLOW[name][0])
    for seed in range(10):
        np.random.seed(seed)
        ours = apply_operations(image, [name], strong_operations.DSSN_OPERATIONS)
        np.random.seed(seed)
        theirs = np.asarray(operation(Image.fromarray(image[..., ::-1].copy())))[..., ::-1]
        found = np.abs(ours.astype(int) - theirs)
        assert found.max() <= PILLOW[name][1] and found.mean() <= PILLOW[name][2]


def test_dssn_draws_with_replacement_up_to_7_bits_and_both_ways(image, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        strong_operations,
        'apply_operations',
        lambda image, names, pool: drawn.append(names) or image,
    )
    np.random.seed(0)
    transform = RandomColourOperations(pool='dssn')
    for _ in range(6000):
        transform(dict(img=image))
    counts = np.bincount([len(names) for names in drawn], minlength=4)
    assert counts[0] == 0 and (np.abs(counts[1:] - 2000) < 150).all()
    twice = np.mean([len(set(names)) < 2 for names in drawn if len(names) == 2])
    assert abs(twice - 1 / 11) < 0.03
    bits, hues = set(), []
    monkeypatch.setattr(
        strong_operations.torchvision, 'posterize', lambda image, n: bits.add(n) or image
    )
    monkeypatch.setattr(
        strong_operations.torchvision,
        'adjust_hue',
        lambda image, turns: hues.append(turns) or image,
    )
    for name in ('posterise', 'hue'):
        for _ in range(300):
            strong_operations.DSSN_OPERATIONS[name](image)
    assert bits == {4, 5, 6, 7} and abs(np.mean(np.sign(hues))) < 0.2
    assert 0.48 < max(hues) <= 0.5 and -0.5 <= min(hues) < -0.48
    with pytest.raises(ValueError, match="pool is one of distinct, dssn, not 'all'"):
        RandomColourOperations(pool='all')


def results_of(image):
    labels = np.full(image.shape[:2], 919, np.int32)
    return dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map'], img_shape=labels.shape)


def strong_view(image, seed):
    """DSSN's, as its configs have it."""
    np.random.seed(seed)
    results = results_of(image)
    for transform in (
        DistortColours(jitter=(0.5, 0.5, 0.5, 0.25)),
        TRANSFORMS.build(dict(type='RandomColourOperations', num=(1, 3))),
    ):
        results = transform(results)
    return results


def test_label_map_and_input_stay_and_the_seed_decides(image):
    before = image.copy()
    for seed in range(30):
        first, again = strong_view(image, seed), strong_view(image, seed)
        np.testing.assert_array_equal(first['img'], again['img'])
        assert first['img'].flags.c_contiguous and first['img'].dtype == np.uint8
        assert (first['gt_seg_map'] == 919).all() and first['gt_seg_map'].dtype == np.int32
        assert not np.shares_memory(first['img'], image)
    np.testing.assert_array_equal(image, before)
    assert (strong_view(image, 0)['img'] != strong_view(image, 1)['img']).any()


@pytest.mark.parametrize('num', [(3, 1), (1, 12), (-1, 2)])
def test_impossible_numbers_are_named(num):
    with pytest.raises(ValueError, match='num='):
        RandomColourOperations(num=num)
