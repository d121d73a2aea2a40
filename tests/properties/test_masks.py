"""Connected components, merging of masks, and the whole step from coarse label map to label map."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from luss_mm.datasets.transforms.pseudo_label import GeneratePseudoLabel
from luss_mm.functional.mask_prompts import (
    active_categories,
    class_prompts,
    merge_masks,
    present_categories,
)

K, SHAPE = 4, (6, 7)
LABELS = arrays.arrays(np.int64, SHAPE, elements=st.integers(0, K))
MASKS = arrays.arrays(np.bool_, SHAPE)
DISTANCES = arrays.arrays(np.float32, K, elements=st.floats(0, 4, width=32))
SCORES = arrays.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))
SIGMAS = st.floats(0, 4)
ORDERS = st.permutations(range(1, K + 1)).flatmap(
    lambda order: st.integers(0, K).map(lambda n: list(order[:n]))
)


@given(LABELS, ORDERS, st.data())
def test_merging_paints_nothing_but_masks(labels, categories, data):
    masks = [data.draw(MASKS) for _ in categories]
    merged = merge_masks(labels, categories, masks)
    if not any(mask.any() for mask in masks):
        np.testing.assert_array_equal(merged, labels)
        return
    for y, x in np.ndindex(SHAPE):
        here = [c for c, mask in zip(categories, masks, strict=True) if mask[y, x]]
        assert merged[y, x] == (here[0] if here else 0)


@given(LABELS, SCORES, DISTANCES, SIGMAS, st.integers(0, 8))
def test_prompts_ask_for_what_is_there_and_near(labels, score, distances, sigma, min_area):
    active = active_categories(distances, sigma)
    prompts = class_prompts(labels, score, distances, sigma, min_area)
    prompted = [prompt.category for prompt in prompts]
    assert set(prompted) <= set(active) & set(present_categories(labels))
    assert active[0] == distances.argmin() + 1 and len(set(active)) == len(active)
    assert sum(prompt.point is not None for prompt in prompts) <= 1
    for prompt in prompts:
        np.testing.assert_array_equal(prompt.region, labels == prompt.category)
        for x0, y0, x1, y1 in prompt.boxes.astype(int):
            assert prompt.region[y0, x0 : x1 + 1].any() and prompt.region[y1, x0 : x1 + 1].any()
    more = class_prompts(labels, score, distances, sigma + 1, min_area)
    assert set(prompted) <= {prompt.category for prompt in more}


class AnyMasks:
    """A segmenter that answers with masks that were drawn before."""

    def __init__(self, masks):
        self.masks = masks

    def segment(self, encoded, prompts):
        return self.masks[: len(prompts)]


@given(SCORES, DISTANCES, SIGMAS, st.integers(0, 8), st.integers(0, 2**31), st.data())
def test_no_class_is_invented(score, distances, sigma, min_area, seed, data):
    """Whatever the segmenter answers: SPO takes classes away, it never adds one."""
    generator = torch.Generator().manual_seed(seed)
    transform = GeneratePseudoLabel(sigma, min_area)
    transform._segmenter = AnyMasks([data.draw(MASKS) for _ in range(K)])
    results = transform(
        dict(
            features=torch.randn(3, 3, 4, generator=generator),
            centroids=torch.randn(K, 3, generator=generator),
            foreground_score=torch.from_numpy(score),
            threshold=data.draw(st.floats(0, 1)),
            squared_distances=distances,
            ori_shape=SHAPE,
            encoded_image=None,
        )
    )
    coarse, final = results['coarse_label'], results['gt_seg_map']
    outcome = results['label_outcome']
    assert set(present_categories(final)) <= set(present_categories(coarse))
    assert outcome['labelled'] == present_categories(final)
    named = [c for key in outcome if key not in ('kept_coarse',) for c in outcome[key]]
    if outcome['kept_coarse']:
        np.testing.assert_array_equal(final, coarse)
    else:
        everything = {*present_categories(coarse), *results['active_categories']}
        assert sorted(named) == sorted(everything)
