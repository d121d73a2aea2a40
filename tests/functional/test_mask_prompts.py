import numpy as np
import pytest

from luss_mm.functional.mask_prompts import (
    ForegroundScore,
    active_categories,
    class_prompts,
    merge_masks,
    prompts_with_score,
    score_trimap,
)


def picture(*rows):
    """Label map of digits and dots."""
    return np.array([[0 if c == '.' else int(c) for c in row] for row in rows], dtype=np.int64)


def slow_components(region):
    """Flood fill over the eight neighbours: sets of (y, x), in the order of their first pixels."""
    height, width = region.shape
    left = [(y, x) for y in range(height) for x in range(width) if region[y, x]]
    components = []
    while left:
        component, front = set(), [left[0]]
        while front:
            y, x = front.pop()
            component.add((y, x))
            around = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            front += [p for p in around if p in set(left) - component and p not in front]
        left = [p for p in left if p not in component]
        components.append(component)
    return components


def slow_boxes(region, min_area):
    boxes = []
    for component in slow_components(region):
        ys, xs = zip(*component, strict=True)
        if len(component) >= min_area:
            boxes.append([min(xs), min(ys), max(xs), max(ys)])
    return boxes


def slow_active(distances, sigma):
    main = min(range(len(distances)), key=lambda k: (distances[k], k))
    others = [k for k in range(len(distances)) if k != main and distances[k] <= sigma]
    return [main + 1, *(k + 1 for k in sorted(others, key=lambda k: (distances[k], k)))]


def blobs(rng, shape, num_categories, cell=3):
    """Random label map of small squares, half of it background."""
    grid = rng.integers(1, num_categories + 1, size=shape) * (rng.random(shape) < 0.5)
    return np.kron(grid, np.ones((cell, cell), dtype=np.int64))


@pytest.mark.parametrize('num_categories', [1, 2, 50, 919])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_active_categories_equal_sorting_by_hand(num_categories, dtype):
    rng = np.random.default_rng(num_categories)
    for sigma in (-1, 0, 0.3, 1, float('inf')):
        distances = rng.integers(0, 12, num_categories).astype(dtype) / 10  # many equals
        expected = slow_active(distances.tolist(), float(dtype(sigma)))
        assert active_categories(distances, sigma) == expected


def test_sigma_is_inclusive_and_does_not_bind_the_main_category():
    distances = np.array([0.9, 0.8, 0.5, np.nextafter(np.float32(0.8), 1)], dtype=np.float32)
    assert active_categories(distances, 0.8) == [3, 2]
    assert active_categories(distances, np.float64(0.8)) == [3, 2]  # .8 in float32 is above .8
    assert active_categories(distances + 5, 0.8) == [3]


def test_nan_distances_are_named():
    with pytest.raises(ValueError, match='category 2 is NaN'):
        active_categories(np.array([0.1, np.nan, 0.2]), 0.8)


@pytest.mark.parametrize('num_categories', [1, 3, 919])
@pytest.mark.parametrize('min_area', [0, 10])
def test_prompts_equal_the_rules_one_by_one(num_categories, min_area):
    rng = np.random.default_rng(num_categories)
    for _ in range(4):
        label_map = blobs(rng, (6, 8), num_categories)
        score = rng.random(label_map.shape)
        distances = rng.random(num_categories)
        y, x = max(np.ndindex(score.shape), key=lambda p: score[p])
        expected = []
        for category in slow_active(distances.tolist(), 0.8):
            region = label_map == category
            if boxes := slow_boxes(region, min_area):
                expected.append((category, boxes, (x, y) if region[y, x] else None))
        prompts = class_prompts(label_map, score, distances, 0.8, min_area)
        assert [(p.category, p.boxes.tolist(), p.point) for p in prompts] == expected
        for prompt in prompts:
            assert prompt.region.dtype == np.bool_
            np.testing.assert_array_equal(prompt.region, label_map == prompt.category)


LABELS = picture('11..22', '11....', '....33', '11...4')


@pytest.mark.parametrize('category', [1, 254, 255, 256, 511, 919])
def test_no_id_is_special_even_in_small_integers(category):
    mask = np.array([[True, False]])
    assert merge_masks(np.zeros((1, 2), np.uint8), [category], [mask]).tolist() == [[category, 0]]


def test_unfit_masks_are_named():
    good = LABELS > 0
    with pytest.raises(ValueError, match='1 masks for 2 categories'):
        merge_masks(LABELS, [1, 2], [good])
    with pytest.raises(ValueError, match=r'category 2 is bool \(4, 5\); it must be bool \(4, 6\)'):
        merge_masks(LABELS, [1, 2], [good, good[:, 1:]])
    with pytest.raises(ValueError, match=r'category 7 is uint8 \(4, 6\)'):
        merge_masks(LABELS, [7], [good.astype(np.uint8)])


# ---------------------------------------------------------------- prompts from the score


def slow_trimap(score, region, others):
    """cv2's numbers (0 background, 1 object, 2 and 3 probably so), pixel by pixel."""
    height, width = region.shape
    trimap = np.zeros(region.shape, np.uint8)
    for y in range(height):
        for x in range(width):
            value = score.values[y, x]
            if others[y, x]:
                trimap[y, x] = 0
            elif value >= score.high:
                trimap[y, x] = 1
            elif value >= score.threshold:
                trimap[y, x] = 3
            else:
                trimap[y, x] = 0 if value <= score.low else 2
    if (trimap == 1).any():
        return trimap
    inside = sorted((score.values[y, x] for y, x in np.argwhere(region)), reverse=True)
    if inside:
        lowest = inside[(len(inside) - 1) // 10]
        trimap[region & (score.values >= lowest)] = 1
    return trimap


@pytest.mark.parametrize(
    'bounds', [(0.2, 0.5, 0.8), (0.5, 0.5, 0.5), (0, 0, 0), (0.2, 0.5, 2), (2, 2, 2)]
)
@pytest.mark.parametrize('steps', [4, 10**6])
def test_trimap_equals_pixel_by_pixel(bounds, steps):
    rng = np.random.default_rng(steps)
    values = (rng.integers(0, steps + 1, (9, 11)) / steps).astype(np.float32)
    score = ForegroundScore(values, *bounds)
    region, others = rng.random((2, 9, 11)) < [[[0.3]], [[0.2]]]
    for here, there in ((region, others & ~region), (region, ~region), (region & False, others)):
        expected = slow_trimap(score, here, there)
        found = score_trimap(score, here, there)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_with_the_score_every_class_has_a_point_of_its_own():
    labels = picture('1122', '1122', '3333')
    values = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::-1] / 12
    prompts = class_prompts(labels, values, np.array([0.1, 0.2, 0.3]), 1.0)
    assert [prompt.point for prompt in prompts] == [None, None, (0, 2)]
    score = ForegroundScore(values, 0.1, 0.5, 0.9)
    scored = prompts_with_score(prompts, score)
    assert [prompt.point for prompt in scored] == [(0, 1), (2, 1), (0, 2)]
    for before, after in zip(prompts, scored, strict=True):
        assert after.score is score and after.region is before.region
        assert after.boxes is before.boxes and after.category == before.category
        assert before.score is None
