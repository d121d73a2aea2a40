import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from luss_mm.datasets.transforms import (
    PCTOperations,
    RandomStrongOperations,
    strong_operations,
)
from luss_mm.datasets.transforms.strong_operations import (
    COLOUR_OPERATIONS,
    MOVEMENTS,
    PCT_COLOURS,
    PCT_MOVEMENTS,
    move_image,
    move_labels,
)

IGNORE = 1000
FILL = (104, 116, 124)
SIZES = [(40, 60), (61, 33), (32, 32)]


def labelled_picture(height, width, seed=0):
    """Patches of 12 pixels with ids 1 to 919, and their picture; see `colours_of`."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(1, 920, (-(-height // 12), -(-width // 12))).astype(np.int32)
    labels = patches.repeat(12, axis=0).repeat(12, axis=1)[:height, :width]
    return colours_of(labels), np.ascontiguousarray(labels)


def colours_of(labels):
    """Blue and green tell the id, red is 200 everywhere."""
    channels = [labels % 256, labels // 256 * 60, np.full_like(labels, 200)]
    return np.stack(channels, axis=2).astype(np.uint8)


def moved(name, height, width, seed):
    np.random.seed(seed)
    movement = MOVEMENTS[name](width, height)
    image, labels = labelled_picture(height, width)
    return move_image(image, movement, FILL), move_labels(labels, movement, IGNORE), movement


def slow_move(labels, movement):
    """Pixel by pixel; the second result marks pixels whose source is not close to a tie."""
    matrix, (width, height) = movement
    result = np.full((height, width), IGNORE, np.int32)
    clear = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            source = matrix @ (x, y, 1)
            column, row = np.floor(source + 0.5).astype(int)
            clear[y, x] = (np.abs(source + 0.5 - np.round(source + 0.5)) > 0.01).all()
            if 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]:
                result[y, x] = labels[row, column]
    return result, clear


@pytest.mark.parametrize('name', list(MOVEMENTS))
@pytest.mark.parametrize(('height', 'width'), [*SIZES, (1, 1), (1, 9), (5, 2)])
def test_labels_are_those_of_the_nearest_pixel(name, height, width):
    for seed in range(6):
        _, found, movement = moved(name, height, width, seed)
        expected, clear = slow_move(labelled_picture(height, width)[1], movement)
        assert found.dtype == np.int32 and found.shape == expected.shape
        np.testing.assert_array_equal(found[clear], expected[clear])
        assert name == 'scale' or min(height, width) < 9 or clear.mean() > 0.75


@pytest.mark.parametrize('name', list(MOVEMENTS))
@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_label_map_moves_with_the_image(name, height, width):
    for seed in range(10):
        image, labels, _ = moved(name, height, width, seed)
        assert image.shape == (*labels.shape, 3) and image.dtype == np.uint8
        outside = labels == IGNORE
        assert (image[outside] == FILL).all()
        kernel, ids = np.ones((3, 3), np.uint8), labels.astype(np.float32)
        inner = cv2.erode(ids, kernel, borderValue=-1) == cv2.dilate(ids, kernel)
        inner &= ~outside
        assert inner.sum() > 0.2 * (~outside).sum()
        assert np.abs(image.astype(int) - colours_of(labels))[inner].max() <= 1
        # Nothing of the fill is mixed into what keeps its label: red is 200 everywhere.
        assert (image[..., 2][~outside] == 200).all()


def results_of(height, width):
    image, labels = labelled_picture(height, width)
    return dict(
        img=image,
        gt_seg_map=labels,
        second_map=labels.astype(np.int64),
        seg_fields=['gt_seg_map', 'second_map'],
        img_shape=labels.shape,
    )


def augmented(seed, height=40, width=60, **settings):
    np.random.seed(seed)
    return RandomStrongOperations(**settings)(results_of(height, width))


def drawn_values(monkeypatch, *values):
    left = list(values)
    monkeypatch.setattr(np.random, 'uniform', lambda *bounds: left.pop(0))


def compare_with_torchvision(ours, theirs, tolerance):
    """Away from the border of what is covered."""
    covered = cv2.erode((ours != IGNORE).astype(np.uint8), np.ones((3, 3)), borderValue=0) > 0
    assert covered.mean() > 0.3
    assert (np.abs(ours.astype(int) - theirs)[covered] > tolerance).mean() < 0.02


@pytest.mark.parametrize('angle', [-45.0, -10.0, 30.0, 45.0])
def test_rotation_is_torchvisions(angle, monkeypatch):
    image, labels = labelled_picture(40, 60)
    drawn_values(monkeypatch, angle)
    movement = strong_operations.rotate(60, 40)
    theirs = torchvision.rotate(
        Image.fromarray(labels), angle, InterpolationMode.NEAREST, fill=IGNORE
    )
    compare_with_torchvision(move_labels(labels, movement, IGNORE), np.asarray(theirs), 0)
    picture = torch.from_numpy(image.transpose(2, 0, 1).copy())
    theirs = torchvision.rotate(picture, angle, InterpolationMode.BILINEAR)
    ours = move_image(image, movement, FILL)
    found = np.abs(ours.astype(int) - theirs.numpy().transpose(1, 2, 0))
    inner = cv2.erode((ours[..., 2] == 200).astype(np.uint8), np.ones((3, 3)), borderValue=0) > 0
    assert found[inner].mean() < 1 and found[inner].max() <= 5


@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('amount', [-0.3, 0.12, 0.3])
def test_shear_is_torchvisions(axis, amount, monkeypatch):
    _, labels = labelled_picture(40, 60)
    drawn_values(monkeypatch, amount)
    monkeypatch.setattr(np.random, 'rand', lambda: 0.2 + 0.6 * axis)
    ours = move_labels(labels, strong_operations.shear(60, 40), IGNORE)
    degrees = [0.0, 0.0]
    degrees[axis] = float(np.rad2deg(np.arctan(amount)))
    theirs = torchvision.affine(
        Image.fromarray(labels), 0, [0, 0], 1, degrees, InterpolationMode.NEAREST, fill=IGNORE
    )
    compare_with_torchvision(ours, np.asarray(theirs), 0)


def test_two_distinct_operations_out_of_fifteen(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        strong_operations, 'apply_operations', lambda image, names: drawn.append(names[0]) or image
    )
    for name in MOVEMENTS:
        movement = lambda w, h, name=name: drawn.append(name) or (np.eye(2, 3), (w, h))  # noqa: E731
        monkeypatch.setitem(MOVEMENTS, name, movement)
    np.random.seed(0)
    transform = RandomStrongOperations(num=2)
    for _ in range(1500):
        transform(results_of(2, 3))
    pairs = np.array(drawn).reshape(1500, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert set(drawn) == {*COLOUR_OPERATIONS, *MOVEMENTS} and len(set(drawn)) == 15
    for place in pairs.T:
        assert (np.abs(np.unique(place, return_counts=True)[1] - 100) < 45).all()


def test_all_maps_follow_and_the_seed_decides():
    sizes = set()
    for seed in range(60):
        first, again = augmented(seed), augmented(seed)
        np.testing.assert_array_equal(first['img'], again['img'])
        np.testing.assert_array_equal(first['gt_seg_map'], again['gt_seg_map'])
        np.testing.assert_array_equal(first['gt_seg_map'], first['second_map'])
        shape = first['img'].shape[:2]
        assert first['img_shape'] == shape == first['gt_seg_map'].shape
        known = np.unique(results_of(40, 60)['gt_seg_map'])
        assert np.isin(first['gt_seg_map'], [*known, IGNORE]).all()
        assert first['gt_seg_map'].max() > 255
        sizes.add(shape)
    assert len(sizes) > 3  # scale was among them
    assert (augmented(0)['img'] != augmented(1)['img']).any()


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (1, 7), (9, 2)])
def test_tiny_images(height, width):
    for seed in range(60):
        results = augmented(seed, height, width)
        assert results['img'].shape[:2] == results['gt_seg_map'].shape
        assert min(results['img_shape']) >= 1


@pytest.mark.parametrize('num', [-1, 16])
def test_impossible_numbers_are_named(num):
    with pytest.raises(ValueError, match=f'num={num}'):
        RandomStrongOperations(num=num)


def pillow_blend(changed, image, share):
    """Shares are those of the image; beyond 1 Pillow extrapolates and cuts off."""
    return Image.blend(changed, image, share)


# Operations of Learning Pseudo Labels on PIL images, their strengths drawn again, with the largest
# difference that rounding explains.
PCT_PILLOW = dict(
    autocontrast=(
        lambda i: pillow_blend(ImageOps.autocontrast(i), i, np.random.uniform(0, 1)),
        2,
    ),
    brightness=(lambda i: ImageEnhance.Brightness(i).enhance(np.random.uniform(0.5, 1.5)), 1),
    colour=(lambda i: ImageEnhance.Color(i).enhance(np.random.uniform(0.5, 1.5)), 2),
    contrast=(lambda i: ImageEnhance.Contrast(i).enhance(np.random.uniform(0.5, 1.5)), 2),
    equalise=(lambda i: pillow_blend(ImageOps.equalize(i), i, np.random.uniform(0.5, 1.5)), 1),
    invert=(lambda i: pillow_blend(ImageOps.invert(i), i, np.random.uniform(0, 1)), 1),
    posterise=(lambda i: ImageOps.posterize(i, np.random.randint(1, 9)), 0),
    sharpness=(lambda i: ImageEnhance.Sharpness(i).enhance(np.random.uniform(0, 1)), 1),
    solarise=(lambda i: ImageOps.solarize(i, np.random.uniform(0, 255)), 0),
)


@pytest.mark.parametrize('name', list(PCT_COLOURS))
def test_colours_of_pct_are_pillows(name):
    image, _ = labelled_picture(40, 60)
    operation, largest = PCT_PILLOW[name]
    for seed in range(10):
        np.random.seed(seed)
        ours = strong_operations.apply_operations(image, [name], PCT_COLOURS)
        np.random.seed(seed)
        theirs = np.asarray(operation(Image.fromarray(image[..., ::-1].copy())))[..., ::-1]
        assert np.abs(ours.astype(int) - theirs).max() <= largest


def test_pct_expects_one_movement_of_two_operations_with_replacement(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        strong_operations,
        'apply_operations',
        lambda image, names, pool: drawn[-1].extend(names) or image,
    )
    for name in PCT_MOVEMENTS:
        movement = lambda w, h, name=name: drawn[-1].append(name) or (np.eye(2, 3), (w, h))  # noqa: E731
        monkeypatch.setitem(PCT_MOVEMENTS, name, movement)
    np.random.seed(0)
    transform = PCTOperations(num=2)
    for _ in range(1500):
        drawn.append([])
        transform(results_of(2, 3))
    assert {len(names) for names in drawn} == {2}
    movements = [sum(name in PCT_MOVEMENTS for name in names) for names in drawn]
    assert (np.abs(np.bincount(movements) - 500) < 85).all()  # 0, 1 and 2 equally often
    assert abs(np.mean([a == b for (a, b) in drawn]) - (1 / 3) / 9 - (1 / 3) / 4) < 0.03


def test_movements_of_pct():
    """Both axes are sheared by where pixels go to, about the centre; flips come half the time."""
    np.random.seed(0)
    matrices = np.array([PCT_MOVEMENTS['shear'](60, 40)[0] for _ in range(2000)])
    forward = np.linalg.inv(matrices[:, :, :2])
    assert np.allclose(forward[:, [0, 1], [0, 1]], 1)
    for amounts in (forward[:, 0, 1], forward[:, 1, 0]):
        assert -0.3 <= amounts.min() < -0.29 and 0.29 < amounts.max() <= 0.3
    centre = np.array([29.5, 19.5, 1])
    assert np.allclose(matrices @ centre, centre[:2])
    flips = [PCT_MOVEMENTS['flip'](60, 40)[0][0, 0] < 0 for _ in range(1000)]
    assert abs(np.mean(flips) - 0.5) < 0.06
