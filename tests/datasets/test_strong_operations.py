import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from luss_mm.datasets.transforms import RandomStrongOperations, strong_operations
from luss_mm.datasets.transforms.strong_operations import (
    COLOUR_OPERATIONS,
    MOVEMENTS,
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


def test_flip_is_exact_and_covers_all():
    image, labels, _ = moved('flip', 41, 33, 0)
    original = labelled_picture(41, 33)
    np.testing.assert_array_equal(image, original[0][:, ::-1])
    np.testing.assert_array_equal(labels, original[1][:, ::-1])


@pytest.mark.parametrize('factor', [0.5, 0.77, 1.0, 1.9, 2.0])
def test_scale_is_torchvisions_resize(factor, monkeypatch):
    image, labels = labelled_picture(41, 62)
    drawn_values(monkeypatch, factor)
    movement = strong_operations.scale(62, 41)
    size = [round(41 * factor), round(62 * factor)]
    ours = move_image(image, movement, FILL)
    assert movement[1] == (size[1], size[0]) and ours.shape[:2] == tuple(size)
    picture = torch.from_numpy(image.transpose(2, 0, 1).copy())
    theirs = torchvision.resize(picture, size, InterpolationMode.BILINEAR, antialias=False)
    assert np.abs(ours.astype(int) - theirs.numpy().transpose(1, 2, 0)).max() <= 5
    moved_labels = move_labels(labels, movement, IGNORE)
    assert (moved_labels != IGNORE).all()  # nothing is uncovered
    theirs = torchvision.resize(
        torch.from_numpy(labels)[None], size, InterpolationMode.NEAREST_EXACT
    )[0].numpy()
    assert (moved_labels != theirs).mean() < (0.2 if factor == 0.5 else 0.03)  # all ties at 0.5


def test_strengths_span_their_bounds():
    np.random.seed(0)
    scales = [strong_operations.scale(1000, 1000)[1][0] / 1000 for _ in range(1000)]
    angles = [np.rad2deg(np.arcsin(strong_operations.rotate(9, 9)[0][1, 0])) for _ in range(1000)]
    shears = np.array([strong_operations.shear(9, 9)[0][:, :2] - np.eye(2) for _ in range(1000)])
    for values, low, high in (
        (scales, 0.5, 2.0),
        (angles, -45, 45),
        (shears.sum(axis=(1, 2)), -0.3, 0.3),
    ):
        margin = 0.02 * (high - low)
        assert low <= np.min(values) + 1e-6 < low + margin
        assert high - margin < np.max(values) <= high + 1e-6
    along_x = (shears[:, 0, 1] != 0).mean()
    assert abs(along_x - 0.5) < 0.06 and ((shears != 0).sum(axis=(1, 2)) == 1).all()


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
    for _ in range(3000):
        transform(results_of(2, 3))
    pairs = np.array(drawn).reshape(3000, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert set(drawn) == {*COLOUR_OPERATIONS, *MOVEMENTS} and len(set(drawn)) == 15
    for place in pairs.T:
        assert (np.abs(np.unique(place, return_counts=True)[1] - 200) < 70).all()


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


def test_colours_leave_the_label_map_alone(monkeypatch):
    monkeypatch.setattr(strong_operations, 'MOVEMENTS', {})
    for seed in range(20):
        before = results_of(40, 60)
        results = augmented(seed, num=3)
        assert (results['gt_seg_map'] == before['gt_seg_map']).all()
        assert results['gt_seg_map'].dtype == np.int32


def test_inputs_are_not_written_to():
    for seed in range(30):
        results, before = results_of(20, 30), results_of(20, 30)
        given = dict(results)
        np.random.seed(seed)
        RandomStrongOperations(num=4)(results)
        for key in ('img', 'gt_seg_map', 'second_map'):
            np.testing.assert_array_equal(given[key], before[key])


def test_fill_and_ignore_index_are_settings(monkeypatch):
    monkeypatch.setattr(strong_operations, 'COLOUR_OPERATIONS', {})
    drawn_values(monkeypatch, 45.0)
    monkeypatch.setattr(strong_operations, 'MOVEMENTS', dict(rotate=strong_operations.rotate))
    transform = TRANSFORMS.build(
        dict(type='RandomStrongOperations', num=1, ignore_index=920, fill=[1, 2, 3])
    )
    results = transform(results_of(40, 60))
    assert results['gt_seg_map'][0, 0] == 920 and tuple(results['img'][0, 0]) == (1, 2, 3)


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (1, 7), (9, 2)])
def test_tiny_images(height, width):
    for seed in range(60):
        results = augmented(seed, height, width)
        assert results['img'].shape[:2] == results['gt_seg_map'].shape
        assert min(results['img_shape']) >= 1


def test_images_without_label_maps_pass():
    sizes = set()
    for seed in range(20):
        np.random.seed(seed)
        image, _ = labelled_picture(20, 30)
        results = RandomStrongOperations()(dict(img=image))
        assert results.get('img_shape', (20, 30)) == results['img'].shape[:2]
        sizes.add(results['img'].shape[:2])
    assert len(sizes) > 1


@pytest.mark.parametrize('num', [-1, 16])
def test_impossible_numbers_are_named(num):
    with pytest.raises(ValueError, match=f'num={num}'):
        RandomStrongOperations(num=num)
