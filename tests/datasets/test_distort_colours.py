import numpy as np
import pytest

from luss_mm.datasets.transforms import DistortColours
from luss_mm.datasets.transforms.colours import GREY_WEIGHTS

NEVER = dict(jitter_prob=0, grey_prob=0, blur_prob=0)


@pytest.fixture
def results():
    """BGR image and label map with ids over 255."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
    labels = np.full((12, 15), 919, np.int32)
    return dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map'], img_shape=(12, 15))


def distorted(results, **settings):
    np.random.seed(0)
    return DistortColours(**settings)(dict(results))['img']


def test_nothing_happens_at_probability_0(results):
    np.testing.assert_array_equal(distorted(results, **NEVER), results['img'])


def test_grey_weighs_the_channels_in_the_order_of_the_file(results):
    grey = distorted(results, **dict(NEVER, grey_prob=1))
    expected = results['img'][..., ::-1] @ np.array(GREY_WEIGHTS)
    assert np.abs(grey - expected[..., None]).max() <= 1


def test_brightness_only(results):
    jitter = dict(NEVER, jitter_prob=1, jitter=(0.8, 0, 0, 0))
    ours = distorted(results, **jitter).astype(float)
    np.random.seed(0)
    np.random.rand()  # whether to jitter
    factor = np.random.uniform(0.2, 1.8)
    # A hue of 0 still goes through HSV.
    assert np.abs(ours - np.minimum(results['img'] * factor, 255)).max() <= 10


def test_blur_brings_neighbours_together(results):
    blurred = distorted(results, **dict(NEVER, blur_prob=1, blur_sigma=(2, 2)))
    assert np.ptp(blurred) < 0.6 * np.ptp(results['img'])


def test_label_map_stays_and_seed_decides(results):
    before = results['gt_seg_map'].copy()
    first, second = distorted(results), distorted(results)
    np.testing.assert_array_equal(first, second)
    assert (first != results['img']).any()
    np.testing.assert_array_equal(results['gt_seg_map'], before)
