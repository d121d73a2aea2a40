import cv2
import numpy as np
import pytest

from luss_mm.functional.mask_prompts import (
    OBJECT,
    PROBABLY_BACKGROUND,
    PROBABLY_OBJECT,
    ForegroundScore,
    MaskPrompt,
    component_boxes,
    prompts_with_score,
)
from luss_mm.models.segmenters import GrabCutSegmenter, SegmenterError

SIZE = (60, 80)


def prompt_of(region, point=None, category=1):
    return MaskPrompt(category, component_boxes(region), point, region)


def disk(centre, radius, size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def photograph(objects, seed=0, size=SIZE):
    """Noisy objects of warm colours on a cold background; grey if `objects` is a grey picture."""
    rng = np.random.default_rng(seed)
    colours = np.where(objects[..., None], (190, 90, 60), (60, 110, 160))
    return (colours + rng.normal(0, 20, (*size, 3))).clip(0, 255).astype(np.uint8)


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def segment(image, *prompts, **settings):
    segmenter = GrabCutSegmenter(**settings)
    return segmenter.segment(segmenter.encode([image])[0], prompts)


def degraded(truth):
    """Coarse regions of a mask: shifted, shrunk, grown, in blocks."""
    cells = cv2.resize(truth.astype(np.float32), (10, 8), interpolation=cv2.INTER_AREA)
    return dict(
        shifted=np.roll(truth, (3, -4), axis=(0, 1)),
        shrunk=cv2.erode(truth.astype(np.uint8), np.ones((7, 7))) > 0,
        grown=cv2.dilate(truth.astype(np.uint8), np.ones((7, 7))) > 0,
        blocks=cv2.resize(cells, truth.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0.4,
    )


def best_possible(truth, region, core=0.3, margin=0.08):
    """The object as far as it is neither deep in the region nor far from it."""
    y0, x0, y1, x1 = *np.argwhere(region).min(0), *np.argwhere(region).max(0)
    reach = max(1, margin * np.sqrt((y1 - y0 + 1) * (x1 - x0 + 1)))
    depth = distance(region)
    return (truth & (distance(~region) <= reach)) | (depth >= core * depth.max())


def distance(mask):
    """To the nearest pixel outside of the mask, by comparing with all of them."""
    outside = np.argwhere(~mask)
    distances = np.zeros(mask.shape)
    for pixel in np.argwhere(mask):
        distances[tuple(pixel)] = np.sqrt(((outside - pixel) ** 2).sum(1).min())
    return distances


@pytest.mark.parametrize(
    'kind, margin',
    [('shifted', 0.2), ('shrunk', 0.2), ('grown', 0.2), ('grown', 0.08), ('blocks', 0.08)],
)
def test_finds_the_object_within_its_reach(kind, margin):
    truth = disk((40, 30), 17)
    region = degraded(truth)[kind]
    (mask,) = segment(photograph(truth), prompt_of(region), margin=margin)
    assert mask.dtype == bool and mask.shape == SIZE
    assert iou(mask, best_possible(truth, region, margin=margin)) > 0.97
    assert iou(mask, truth) > iou(region, truth) + 0.05


def many_prompts(count=12):
    rng = np.random.default_rng(3)
    truth = np.zeros(SIZE, bool)
    prompts = []
    for category in range(1, count + 1):
        region = disk(rng.integers(10, 50, 2), rng.integers(2, 9))
        truth |= region
        prompts.append(prompt_of(np.roll(region, 2, axis=0), category=category))
    image = np.random.default_rng(4).integers(0, 256, (*SIZE, 3), dtype=np.uint8)  # no clear edge
    return cv2.addWeighted(image, 0.6, photograph(truth), 0.4, 0), prompts


def test_same_masks_whatever_was_called_before():
    image, prompts = many_prompts()
    expected = segment(image, *prompts)
    cv2.setRNGSeed(77)
    segment(image, *prompts[5:])
    np.testing.assert_array_equal(segment(image, *prompts), expected)
    for one, mask in zip(prompts, expected, strict=True):
        np.testing.assert_array_equal(segment(image, one)[0], mask)


@pytest.mark.parametrize('opencv_threads', [1, 4])
@pytest.mark.parametrize('threads', [1, 5])
def test_same_masks_on_any_number_of_threads(threads, opencv_threads):
    image, prompts = many_prompts()
    expected = segment(image, *prompts)
    before = cv2.getNumThreads()
    cv2.setNumThreads(opencv_threads)
    try:
        for _ in range(3):
            np.testing.assert_array_equal(segment(image, *prompts, threads=threads), expected)
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize('size', [(1, 1), (1, 40), (40, 1), (2, 2), (3, 500)])
@pytest.mark.parametrize('max_side', [1, 16, 192])
def test_tiny_and_narrow_images(size, max_side):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    region = np.zeros(size, bool)
    region[0, : max(1, size[1] // 2)] = True
    (mask,) = segment(image, prompt_of(region, point=(0, 0)), max_side=max_side)
    assert mask.dtype == bool and mask.shape == size


@pytest.mark.parametrize(
    'settings',
    [
        dict(max_side=0),
        dict(core=0),
        dict(core=1.5),
        dict(margin=-1),
        dict(threads=0),
    ],
)
def test_wrong_settings_are_named(settings):
    (name,) = settings
    with pytest.raises(SegmenterError, match=f'{name} {settings[name]}'):
        GrabCutSegmenter(**settings)


def slow_box_mask(image, prompt, max_side=192, core=0.3, margin=0.08, iterations=2):
    """GrabCut on each box as it was before there were scores, the trimap pixel by pixel."""
    mask = np.zeros(image.shape[:2], bool)
    for x0, y0, x1, y1 in prompt.boxes.astype(int).tolist():
        reach = max(1.0, margin * np.sqrt((x1 - x0 + 1) * (y1 - y0 + 1)))
        context = int(np.ceil(3 * reach))
        top, left = max(0, y0 - context), max(0, x0 - context)
        part = image[top : y1 + 1 + context, left : x1 + 1 + context]
        region = np.zeros(image.shape[:2], bool)
        region[y0 : y1 + 1, x0 : x1 + 1] = prompt.region[y0 : y1 + 1, x0 : x1 + 1]
        region = region[top : y1 + 1 + context, left : x1 + 1 + context]
        height, width = region.shape
        scale = min(1, max_side / max(height, width))
        small = max(1, round(width * scale)), max(1, round(height * scale))
        colours = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        coarse = cv2.resize(region.astype(np.float32), small, interpolation=cv2.INTER_AREA) >= 0.5
        outside, depth = distance(~coarse), distance(coarse)
        trimap = np.zeros(coarse.shape, np.uint8)
        for pixel in np.ndindex(coarse.shape):
            if coarse[pixel]:
                sure = np.float32(depth[pixel]) >= core * np.float32(depth.max())
                trimap[pixel] = OBJECT if sure else PROBABLY_OBJECT
            elif outside[pixel] <= max(1.0, reach * scale):
                trimap[pixel] = PROBABLY_BACKGROUND
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(colours, trimap, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
        found = ((trimap == OBJECT) | (trimap == PROBABLY_OBJECT)).astype(np.float32)
        found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
        mask[top : top + height, left : left + width] |= found
    return mask


@pytest.mark.parametrize('settings', [dict(), dict(max_side=30), dict(core=0.7, iterations=1)])
def test_without_a_score_each_box_is_cut_by_itself(settings):
    truth = disk((25, 30), 14) | disk((62, 20), 9)
    image, region = photograph(truth), np.roll(truth, (3, -2), axis=(0, 1))
    (mask,) = segment(image, prompt_of(region), **settings)
    np.testing.assert_array_equal(mask, slow_box_mask(image, prompt_of(region), **settings))


# ---------------------------------------------------------------- from the score


def scored(values, *regions, bounds=(0.2, 0.5, 0.8)):
    """Prompts with a score, the first region's first."""
    score = ForegroundScore(values.astype(np.float32), *bounds)
    prompts = [prompt_of(region, category=i) for i, region in enumerate(regions, start=1)]
    return prompts_with_score(prompts, score)


def half_seen(*objects):
    """A score that is high on the left half of each object and unsure around it."""
    values = np.full(SIZE, 0.1)
    for centre in objects:
        values[disk(centre, 17)] = 0.4
        left = disk(centre, 12) & (np.arange(SIZE[1]) < centre[0])
        values[left] = 0.9
    return values


def test_the_score_recovers_halves_that_the_region_misses():
    first, second = disk((20, 30), 12), disk((59, 30), 12)
    image = photograph(first | second)
    values = half_seen((20, 30), (59, 30))
    regions = [(values >= 0.5) & disk(centre, 17) for centre in ((20, 30), (59, 30))]
    by_region = segment(image, *[prompt_of(r, category=i) for i, r in enumerate(regions, 1)])
    by_score = segment(image, *scored(values, *regions))
    for truth, region, old, new in zip((first, second), regions, by_region, by_score, strict=True):
        assert iou(region, truth) < 0.55 and iou(old, truth) < 0.75
        assert iou(new, truth) > 0.95
    assert not (by_score[0] & by_score[1]).any()


def test_boxes_and_scores_may_be_mixed_and_a_prompt_without_pixels_gets_none():
    truth = disk((40, 30), 17)
    image, values = photograph(truth), np.where(truth, 0.9, 0.1)
    (with_score,) = scored(values, truth)
    empty = MaskPrompt(3, np.zeros((0, 4)), None, np.zeros(SIZE, bool), with_score.score)
    masks = segment(image, prompt_of(truth), with_score, empty, threads=3)
    np.testing.assert_array_equal(masks[0], segment(image, prompt_of(truth))[0])
    np.testing.assert_array_equal(masks[1], segment(image, with_score)[0])
    assert not masks[2].any()


@pytest.mark.parametrize('size', [(1, 1), (1, 40), (40, 1), (2, 2), (3, 500)])
@pytest.mark.parametrize('side', [1, 16, 256])
@pytest.mark.parametrize('seed', range(3))
def test_tiny_and_narrow_images_with_a_score(size, side, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    region = np.zeros(size, bool)
    region[0, : max(1, size[1] // 2)] = True
    (mask,) = segment(image, *scored(rng.random(size), region), max_side=side)
    assert mask.dtype == bool and mask.shape == size
