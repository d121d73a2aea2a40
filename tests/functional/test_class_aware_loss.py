import pytest
import torch

from luss_mm.functional.class_aware_loss import (
    class_aware_cross_entropy,
    image_tag_loss,
    restricted_argmax,
    tagged_ids,
)
from tests.functional.largest_tensor import LargestTensor
from tests.functional.slow_tags import (
    IGNORED,
    random_batch,
    slow_cross_entropy,
    slow_tag_loss,
)


def loss_and_gradient(logits, *rest):
    logits = logits.clone().requires_grad_()
    loss = class_aware_cross_entropy(logits, *rest)
    loss.backward()
    return loss.detach(), logits.grad


# ---------------------------------------------------------------- cross entropy


@pytest.mark.parametrize('size', [1e3, 1e6, 1e30])
def test_huge_logits_stay_finite(size):
    logits, tags, labels = random_batch()
    loss, gradient = loss_and_gradient(logits * size, tags, labels, IGNORED)
    assert loss.isfinite() and gradient.isfinite().all() and gradient.abs().sum() > 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_worked_on_in_float32(dtype):
    logits, tags, labels = random_batch()
    half = logits.to(dtype)
    with torch.autocast('cpu', torch.bfloat16):
        loss, gradient = loss_and_gradient(half, tags, labels, IGNORED)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    assert abs(loss - slow_cross_entropy(half.float(), tags, labels)) < 1e-5


def test_255_is_a_class_and_ids_beyond_the_classes_are_named():
    logits, tags, labels = random_batch(classes=300)
    tags[:, 255] = True
    labels[:, :6] = 255
    loss = class_aware_cross_entropy(logits, tags, labels, IGNORED)
    assert abs(loss - slow_cross_entropy(logits, tags, labels)) < 1e-5
    labels[0, 0, 0] = 299
    with pytest.raises(ValueError, match=r'label map has ids \d+ to 299, outside of \[0, 20\]'):
        class_aware_cross_entropy(logits[:, :21], tags[:, :21] | True, labels, IGNORED)


def test_maps_of_all_classes_are_never_resized():
    logits, tags, labels = random_batch(images=2, classes=920, size=(96, 96), cells=(12, 12))
    with LargestTensor() as largest:
        loss_and_gradient(logits, tags, labels, IGNORED)
        restricted_argmax(logits, tags, (96, 96))
    most = 4 * max(logits.numel(), labels.numel() * 2)
    assert 8 * labels.numel() <= largest.bytes <= most


# ---------------------------------------------------------------- argmax


def test_of_equal_logits_the_lowest_id_wins_and_no_gradient_flows():
    tags = torch.tensor([[False, True, False, True], [False, False, False, True]])
    predicted = restricted_argmax(torch.zeros(2, 4, 3, 3, requires_grad=True), tags, (5, 5))
    assert (predicted[0] == 1).all() and (predicted[1] == 3).all()
    assert not predicted.requires_grad
    assert tagged_ids(tags).tolist() == [[1, 3], [3, 3]]


# ---------------------------------------------------------------- tags of the image


def test_cells_that_saw_padding_only_are_not_looked_at():
    logits, tags, _ = random_batch(cells=(4, 4))
    logits -= 10
    valid = torch.ones(3, 16, 16, dtype=torch.bool)
    valid[0, 9:] = False  # the third row of cells still saw one row of pixels
    valid[2] = False
    logits[0, :, 3] = 50.0
    logits[2] = torch.nan
    logits.requires_grad_()
    loss = image_tag_loss(logits, tags, valid)
    cells = torch.ones(3, 4, 4, dtype=torch.bool)
    cells[0, 3], cells[2] = False, False
    assert abs(loss - slow_tag_loss(logits.detach(), tags, cells)) < 1e-5
    loss.backward()
    assert (logits.grad[0, :, 3] == 0).all() and (logits.grad[2] == 0).all()
    assert (logits.grad[:2].flatten(2) != 0).any(dim=2).all()


def test_tag_loss_without_images_or_classes_is_zero():
    logits, tags, labels = random_batch()
    assert image_tag_loss(logits, tags, labels < 0) == 0
    assert image_tag_loss(logits[:, :0], tags[:, :0], labels >= 0) == 0


# ---------------------------------------------------------------- two processes
