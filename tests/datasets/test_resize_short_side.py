import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from luss_mm.datasets.transforms import ResizeShortSide, ResizeSquare

SIDE = 48
SIZES = [(48, 48), (1, 1), (1, 7), (375, 500), (500, 333), (97, 101), (30, 31), (48, 77)]
PANORAMAS = [(20, 159), (20, 161), (400, 30), (1, 300), (1500, 40)]


def loaded(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('height, width', SIZES + PANORAMAS)
@pytest.mark.parametrize('side', [SIDE, 256])
def test_equals_torchvision_on_pillow(height, width, side):
    image = loaded(height, width)
    results = ResizeShortSide(side)(dict(img=image))
    rgb = Image.fromarray(image[..., ::-1])
    expected = np.asarray(Resize(side, max_size=8 * side)(rgb))[..., ::-1]
    np.testing.assert_array_equal(results['img'], expected)


def test_the_long_side_is_truncated_and_described():
    results = ResizeShortSide(256)(dict(img=loaded(375, 499)))  # 340.65 wide
    assert results['img'].shape == (256, 340, 3)
    assert results['img_shape'] == (256, 340) and results['scale'] == (340, 256)
    assert results['scale_factor'] == (340 / 499, 256 / 375) and results['keep_ratio']


def test_a_label_map_loaded_before_follows():
    labels = np.arange(36, dtype=np.int32).reshape(6, 6)
    results = ResizeShortSide(3)(dict(img=loaded(6, 6), gt_seg_map=labels))
    assert results['gt_seg_map'].tolist() == labels[1::2, 1::2].tolist()


@pytest.mark.parametrize('height, width', [(48, 48), (375, 500), (31, 7)])
def test_a_square_of_any_image(height, width):
    image = loaded(height, width)
    results = ResizeSquare(SIDE)(dict(img=image))
    rgb = Image.fromarray(image[..., ::-1])
    expected = np.asarray(Resize((SIDE, SIDE))(rgb))[..., ::-1]
    np.testing.assert_array_equal(results['img'], expected)
    assert results['scale_factor'] == (SIDE / width, SIDE / height)
    assert results['img_shape'] == (SIDE, SIDE) and not results['keep_ratio']
