import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as torchvision

from luss_mm.datasets.transforms import multi_crop as colours


@pytest.fixture(scope='module')
def image():
    """A colourful image, smooth in part, with black and white. RGB uint8 (48, 64, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)
    smooth[:6, :6], smooth[:6, 6:12] = 0, 255
    smooth[30:] = rng.integers(0, 256, (18, 64, 3))
    return smooth


def differences(ours, theirs):
    theirs = theirs.numpy().transpose(1, 2, 0).astype(int)
    assert ours.dtype == np.uint8 and ours.shape == theirs.shape
    return np.abs(ours - theirs)


def as_tensor(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


FACTORS = [0.0, 0.2, 0.5, 0.9, 1.0, 1.3, 1.8]


@pytest.mark.parametrize('factor', FACTORS)
def test_brightness(image, factor):
    theirs = torchvision.adjust_brightness(as_tensor(image), factor)
    assert differences(colours.change_brightness(image, factor), theirs).max() <= 1


@pytest.mark.parametrize('factor', FACTORS)
def test_contrast(image, factor):
    theirs = torchvision.adjust_contrast(as_tensor(image), factor)
    assert differences(colours.change_contrast(image, factor), theirs).max() <= 2


@pytest.mark.parametrize('factor', FACTORS)
def test_saturation(image, factor):
    theirs = torchvision.adjust_saturation(as_tensor(image), factor)
    assert differences(colours.change_saturation(image, factor), theirs).max() <= 2


@pytest.mark.parametrize('turns', [-0.5, -0.2, -0.07, 0.0, 0.013, 0.1, 0.2])
def test_hue(image, turns):
    """OpenCV's uint8 hue has steps of 1/180 turn, up to 6 * 255 / 180 = 8.5 grey levels."""
    theirs = torchvision.adjust_hue(as_tensor(image), turns)
    found = differences(colours.shift_hue(image, turns), theirs)
    assert found.max() <= 9 and found.mean() <= 2


def test_grey(image):
    theirs = torchvision.rgb_to_grayscale(as_tensor(image), num_output_channels=3)
    assert differences(colours.to_grey(image), theirs).max() <= 1


@pytest.mark.parametrize('sigma', [0.1, 0.4, 1.0, 2.0])
def test_blur(image, sigma):
    """The same Gaussian; torchvision gets the kernel size that covers it, borders reflected."""
    size = 2 * max(1, round(4 * sigma)) + 1
    theirs = torchvision.gaussian_blur(as_tensor(image), [size, size], [sigma, sigma])
    assert differences(colours.blur(image, sigma), theirs).max() <= 2


def test_jitter_draws_factors_and_order(image, monkeypatch):
    drawn = dict(brightness=[], contrast=[], saturation=[], hue=[])
    orders = set()
    order = []

    def watch(name, function):
        def watched(picture, value):
            drawn[name].append(value)
            order.append(name)
            return picture

        monkeypatch.setattr(colours, function, watched)

    for name in ('brightness', 'contrast', 'saturation'):
        watch(name, f'change_{name}')
    watch('hue', 'shift_hue')
    np.random.seed(0)
    for _ in range(1000):
        order.clear()
        colours.apply_jitter(image, *colours.draw_jitter(0.8, 0.5, 1.5, 0.2))
        orders.add(tuple(order))
    assert len(orders) == 24  # all permutations
    bounds = dict(
        brightness=(0.2, 1.8), contrast=(0.5, 1.5), saturation=(0.0, 2.5), hue=(-0.2, 0.2)
    )
    for name, (low, high) in bounds.items():
        values = np.array(drawn[name])
        assert len(values) == 1000 and low <= values.min() and values.max() <= high
        margin = 0.02 * (high - low)
        assert values.min() < low + margin and values.max() > high - margin
