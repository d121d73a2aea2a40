import cv2
import numpy as np
import pytest
import torch

from luss_mm.datasets.transforms import multi_crop as colours
from luss_mm.functional.colour_changes import NO_CHANGE, blur, change_colours, shift_hue


def photograph(seed, height=40, width=50):
    grid = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def changed(image, **columns):
    row = list(NO_CHANGE)
    for name, value in columns.items():
        row[('brightness', 'contrast', 'saturation', 'hue').index(name)] = value
    return apply(image, row)


def apply(image, row):
    batch = torch.from_numpy(image.transpose(2, 0, 1))[None]
    return change_colours(batch, torch.tensor([row]))[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize(
    'name, slow, bounds, largest',
    [
        ('brightness', colours.change_brightness, (0.2, 1.8), 0),
        ('contrast', colours.change_contrast, (0.2, 1.8), 0),
        ('saturation', colours.change_saturation, (0.2, 1.8), 1),
        ('hue', colours.shift_hue, (-0.2, 0.2), 10),  # OpenCV has 180 hues
    ],
)
def test_one_operation_equals_opencv(name, slow, bounds, largest):
    for seed in range(10):
        image = photograph(seed)
        amount = np.linspace(*bounds, 10)[seed]
        difference = np.abs(changed(image, **{name: amount}) - slow(image, amount).astype(float))
        assert difference.max() <= largest and difference.mean() < 1
        assert np.abs(changed(image, **{name: amount}) - image).max() > 5


def test_hue_equals_pixel_by_pixel():
    image = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 255
    turns = torch.tensor([0.13, -0.4])
    found = shift_hue(image, turns)
    for b in range(2):
        for y in range(5):
            for x in range(4):
                pixel = image[b, :, y, x].numpy()[None, None]
                hue, saturation, value = cv2.cvtColor(pixel / 255, cv2.COLOR_RGB2HSV)[0, 0]
                turned = np.float32([[[(hue + 360 * turns[b].item()) % 360, saturation, value]]])
                expected = 255 * cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)[0, 0]
                np.testing.assert_allclose(found[b, :, y, x], expected, atol=0.05)


@pytest.mark.parametrize('sigma', [0.1, 0.7, 1.3, 2.0])
def test_blur_equals_opencv(sigma):
    image = photograph(3)
    row = list(NO_CHANGE)
    row[9] = sigma
    assert np.abs(apply(image, row) - colours.blur(image, sigma).astype(float)).max() < 1.5


def test_each_image_has_its_own_sigma_and_zero_leaves_it():
    images = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    found = blur(images, torch.tensor([0.0, 1.0, 2.0]), 2.0)
    torch.testing.assert_close(found[0], images[0])
    assert found[2].std() < found[1].std() < images[1].std()


def test_grey_and_nothing():
    image = photograph(5)
    row = list(NO_CHANGE)
    np.testing.assert_array_equal(apply(image, row), image)
    row[8] = 1
    assert np.abs(apply(image, row) - colours.to_grey(image).astype(float)).max() <= 1


@pytest.mark.parametrize('seed', range(8))
def test_all_together_in_their_drawn_order(seed):
    image = photograph(seed)
    np.random.seed(seed)
    change = colours.ColourChange(colours.draw_jitter(0.8, 0.8, 0.8, 0.2), bool(seed % 3 == 0), 1.1)
    found = apply(image, change.numbers())
    assert np.abs(found - change.apply(image).astype(float)).mean() < 3
