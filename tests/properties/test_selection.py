"""What is kept is part of what was there, and a stricter bound keeps no more."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional as F

from luss_mm.functional.consistency import select_class_aware, selected_cross_entropy
from luss_mm.functional.sample_selection import (
    balance_clusters,
    filter_noise,
    sample_quality,
    select_small_losses,
)

NUMBERS = st.floats(0, 100, width=32)
LOSSES = arrays.arrays(np.float32, st.integers(1, 30), elements=NUMBERS)
SHARES = st.floats(0.01, 1)
IMAGES, CLASSES, SIDE = 2, 3, 4
LOGITS = arrays.arrays(
    np.float32, (IMAGES, CLASSES, SIDE, SIDE), elements=st.floats(-9, 9, width=32)
).map(torch.from_numpy)
VALID = arrays.arrays(np.bool_, (IMAGES, SIDE, SIDE)).map(torch.from_numpy)
LABELS = arrays.arrays(np.int64, (IMAGES, SIDE, SIDE), elements=st.integers(0, CLASSES - 1)).map(
    torch.from_numpy
)


def kept_or_none(function, *arguments, **settings):
    """What a rule keeps; nothing where it says that it keeps nothing."""
    try:
        return function(*arguments, **settings)
    except ValueError as error:
        assert 'keeps none' in str(error)
        return np.zeros(len(arguments[0]), bool)


@given(LOSSES, st.data())
def test_small_losses_are_the_smallest(losses, data):
    for rule, values in (('quantile', SHARES), ('absolute', NUMBERS), ('mean', st.none())):
        first, second = data.draw(values), data.draw(values)
        kept, other = (kept_or_none(select_small_losses, losses, rule, v) for v in (first, second))
        if kept.any() and not kept.all():
            assert losses[kept].max() <= losses[~kept].min()
        if rule == 'quantile':
            assert kept.sum() == round(first * len(losses))
        if rule != 'mean':
            smaller, larger = (kept, other) if first <= second else (other, kept)
            assert not (smaller & ~larger).any()


@st.composite
def two_distances(draw):
    number = draw(st.integers(1, 30))
    values = [draw(arrays.arrays(np.float32, number, elements=NUMBERS)) for _ in range(2)]
    return np.minimum(*values), np.maximum(*values)


@given(two_distances(), st.sampled_from(['margin', 'ratio', 'distance']), SHARES, SHARES, st.data())
def test_filters_keep_the_best(distances, rule, first, second, data):
    quality = sample_quality(*distances, rule)
    smaller, larger = sorted((first, second))
    few, many = (kept_or_none(filter_noise, *distances, rule, share) for share in (smaller, larger))
    assert not (few & ~many).any() and many.sum() == round(larger * len(quality))
    for kept in (few, many):
        if kept.any() and not kept.all():
            assert quality[kept].min() >= quality[~kept].max()
    low, high = sorted((data.draw(NUMBERS), data.draw(NUMBERS)))
    below, above = (kept_or_none(filter_noise, *distances, rule, limit=x) for x in (low, high))
    strict, loose = (above, below) if rule == 'margin' else (below, above)
    assert not (strict & ~loose).any()


@given(
    arrays.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 3)),
    st.integers(0, 2**31),
    st.none() | st.floats(1, 3),
    st.none() | st.floats(0.1, 1),
)
def test_balancing_draws_from_what_was_kept(assignment, seed, cap, floor):
    rng = np.random.default_rng(seed)
    quality, kept = rng.normal(size=len(assignment)), rng.random(len(assignment)) < 0.7
    kept[0] = True
    chosen = balance_clusters(assignment, quality, kept, 4, cap, floor, seed)
    assert kept[chosen].all() and (np.diff(chosen) >= 0).all()
    sizes, taken = (np.bincount(assignment[i], minlength=4) for i in (kept, chosen))
    median = np.median(sizes[sizes > 0])
    assert not taken[sizes == 0].any()
    if cap is not None:
        assert (taken <= max(int(cap * median), 0)).all()
    if floor is not None:
        assert (taken[sizes > 0] >= min(int(floor * median), int((cap or 9) * median))).all()
    else:
        assert len(np.unique(chosen)) == len(chosen)
    for cluster in range(4):  # no better sample is left out for a worse one
        members = np.flatnonzero(kept & (assignment == cluster))
        left = np.setdiff1d(members, chosen)
        if left.size:
            assert quality[left].max() <= quality[np.intersect1d(members, chosen)].min()


@given(LOGITS, VALID, SHARES, SHARES, SHARES)
def test_selected_pixels_are_valid_and_fewer_where_more_is_asked(logits, valid, certain, one, two):
    low, high = sorted((one, two))
    strict = select_class_aware(logits, valid, certain, high)
    loose = select_class_aware(logits, valid, certain, low)
    assert not (loose & ~valid).any() and not (strict & ~loose).any()
    assert not (select_class_aware(logits, valid, max(certain, high), low) & ~loose).any()


@given(LOGITS, LABELS, VALID, LOGITS)
def test_all_valid_pixels_selected_is_the_ordinary_cross_entropy(logits, labels, valid, others):
    loss = selected_cross_entropy(logits, labels, valid, valid)
    ordinary = F.cross_entropy(logits, labels, reduction='none')[valid]
    expected = ordinary.mean().item() if valid.any() else 0
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    changed = torch.where(valid[:, None], logits, others)
    assert selected_cross_entropy(changed, labels, valid, valid) == loss
