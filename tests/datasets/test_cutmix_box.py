import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from scipy.stats import kstest

from luss_mm.datasets.transforms import DrawCutMixBox
from luss_mm.datasets.transforms.strong_operations import draw_box

AREA, RATIO = (0.02, 0.4), (0.3, 1 / 0.3)


def draw_by_trial(height, width, area, ratio):
    """Literally: keep the area, draw shapes until one fits, then the place."""
    pixels = height * width * np.random.uniform(*area)
    while True:
        aspect = np.exp(np.random.uniform(*np.log(ratio)))
        w, h = np.sqrt(pixels * aspect), np.sqrt(pixels / aspect)
        if w <= width and h <= height:
            return w, h


def boxes_of(height, width, count=4000, seed=0):
    np.random.seed(seed)
    return np.array([draw_box(height, width, AREA, RATIO) for _ in range(count)])


@pytest.mark.parametrize(('height', 'width'), [(513, 513), (400, 800), (1000, 300)])
def test_area_is_uniform_and_shapes_are_those_that_fit(height, width):
    left, top, w, h = boxes_of(height, width).T
    assert min(left.min(), top.min()) >= 0
    assert (left + w <= width).all() and (top + h <= height).all()
    share = w * h / (height * width)
    assert share.min() > 0.018 and share.max() < 0.405
    assert kstest((share - AREA[0]) / (AREA[1] - AREA[0]), 'uniform').pvalue > 1e-3
    np.random.seed(1)
    by_trial = np.array([draw_by_trial(height, width, AREA, RATIO) for _ in range(4000)]).T
    assert kstest(np.log(w / h), np.log(by_trial[0] / by_trial[1])).pvalue > 1e-3


def test_place_is_uniform_within_what_fits():
    left, top, w, h = boxes_of(400, 600).T
    rng = np.random.default_rng(0)
    for start, room in ((left, 600 - w), (top, 400 - h)):
        free = room > 50
        share = (start[free] + rng.random(free.sum())) / (room[free] + 1)
        assert kstest(share, 'uniform').pvalue > 1e-3


def draw_as_dssn(size):
    """Literally as its description: area, then shape and corner until the box lies inside."""
    pixels = np.random.uniform(*AREA) * size * size
    while True:
        ratio = np.random.uniform(*RATIO)
        w, h = int(np.sqrt(pixels / ratio)), int(np.sqrt(pixels * ratio))
        x, y = np.random.randint(0, size), np.random.randint(0, size)
        if x + w <= size and y + h <= size:
            return x, y, w, h


def test_uniform_shapes_are_those_of_dssn():
    draw = DrawCutMixBox(prob=1, shapes='uniform')
    image = np.zeros((513, 513, 3), np.uint8)
    np.random.seed(0)
    ours = np.array([draw(dict(img=image))['cutmix_box'] for _ in range(2000)])
    np.random.seed(1)
    theirs = np.array([draw_as_dssn(513) for _ in range(2000)])
    for mine, other in zip(ours.T, theirs.T, strict=True):  # left, top, width, height
        assert kstest(mine, other).pvalue > 1e-3
    ratios = [boxes[:, 3] / boxes[:, 2] for boxes in (ours, theirs)]
    assert kstest(*ratios).pvalue > 1e-3
    log_uniform = boxes_of(513, 513)
    assert kstest(log_uniform[:, 3] / log_uniform[:, 2], ratios[1]).pvalue < 1e-9
    with pytest.raises(ValueError, match="shapes is one of log_uniform, uniform, not 'round'"):
        DrawCutMixBox(shapes='round')


def draw(seed, **settings):
    np.random.seed(seed)
    transform = DrawCutMixBox(**settings)
    return [transform(dict(img=np.zeros((40, 60, 3), np.uint8)))['cutmix_box'] for _ in range(2000)]


def test_half_of_the_views_have_a_box():
    boxes = draw(0)
    assert abs(np.mean([box is not None for box in boxes]) - 0.5) < 0.04
    assert len({box for box in boxes if box}) > 500  # every view draws its own
    box = next(box for box in boxes if box)
    assert isinstance(box, tuple) and all(type(number) is int for number in box)
    assert not any(draw(0, prob=0)) and all(draw(0, prob=1))


def test_seed_decides_and_the_image_stays():
    assert draw(3) == draw(3) != draw(4)
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    before = image.copy()
    results = DrawCutMixBox(prob=1)(dict(img=image))
    np.testing.assert_array_equal(results['img'], before)


@pytest.mark.parametrize(
    'settings',
    [dict(area=(0, 0.4)), dict(area=(2, 40)), dict(area=(0.4, 0.02)), dict(ratio=(3, 0.3))],
)
def test_impossible_bounds_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TRANSFORMS.build(dict(type='DrawCutMixBox', **settings))
