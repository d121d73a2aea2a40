"""What is kept is part of what was there, and a stricter bound keeps no more."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional as F

from luss_mm.functional.consistency import select_class_aware, selected_cross_entropy

SHARES = st.floats(0.01, 1)
IMAGES, CLASSES, SIDE = 2, 3, 4
LOGITS = arrays.arrays(
    np.float32, (IMAGES, CLASSES, SIDE, SIDE), elements=st.floats(-9, 9, width=32)
).map(torch.from_numpy)
VALID = arrays.arrays(np.bool_, (IMAGES, SIDE, SIDE)).map(torch.from_numpy)
LABELS = arrays.arrays(np.int64, (IMAGES, SIDE, SIDE), elements=st.integers(0, CLASSES - 1)).map(
    torch.from_numpy
)


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
