import pytest
import torch

from luss_mm.functional.colour_changes import NO_CHANGE, change_colours
from luss_mm.models import ViewsPreprocessor

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def slow_normalize(images, mean, std):
    result = torch.zeros(images.shape, dtype=torch.float64)
    for b in range(images.shape[0]):
        for c in range(3):
            for y in range(images.shape[2]):
                for x in range(images.shape[3]):
                    result[b, c, y, x] = (float(images[b, c, y, x]) - mean[c]) / std[c]
    return result


def uint8_images(batch, height, width):
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize('mean, std', [(MEAN, STD), ((0, 100, 255), (1, 2, 300))])
def test_views_equal_loops(mean, std):
    preprocessor = ViewsPreprocessor(mean, std)
    views = [uint8_images(2, 6, 6), uint8_images(2, 4, 4)]
    result = preprocessor(dict(inputs=views, crops=torch.ones(2, 2, 5)), training=True)
    assert isinstance(result['inputs'], list) and len(result['inputs']) == 2
    for view, normalized in zip(views, result['inputs'], strict=True):
        assert normalized.dtype == torch.float32
        difference = normalized.double() - slow_normalize(view, mean, std)
        assert difference.abs().max() < 2e-5  # of values up to 255
    assert torch.equal(result['crops'], torch.ones(2, 2, 5))


def test_one_batch_of_images_stays_one_batch():
    images = uint8_images(3, 5, 8)
    result = ViewsPreprocessor()(dict(inputs=images, index=torch.arange(3)))
    assert result['inputs'].shape == (3, 3, 5, 8)
    difference = result['inputs'].double() - slow_normalize(images, MEAN, STD)
    assert difference.abs().max() < 1e-6
    assert torch.equal(result['index'], torch.arange(3))


def test_colours_are_changed_before_they_are_normalised():
    view = uint8_images(2, 6, 6)
    change = torch.tensor([NO_CHANGE, NO_CHANGE])
    change[1, 0] = 0.5  # brightness
    data = dict(inputs=[view], colour_changes=change[:, None])
    result = ViewsPreprocessor()(data)
    assert set(result) == {'inputs'} and 'colour_changes' in data
    wanted = ViewsPreprocessor().normalize(change_colours(view, change))
    torch.testing.assert_close(result['inputs'][0], wanted)
    plain = ViewsPreprocessor()(dict(inputs=[view]))['inputs'][0]
    torch.testing.assert_close(result['inputs'][0][0], plain[0])
    assert (result['inputs'][0][1] - plain[1]).abs().max() > 0.5
