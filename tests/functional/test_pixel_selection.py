import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from luss_mm.functional.consistency import (
    select_class_aware,
    selected_cross_entropy,
)
from tests.models.slow_dssn import as_mask, slow_selection
from tests.two_ranks import run_on_two_ranks


def random_batch(images=3, classes=5, size=(9, 8), seed=0, spread=3.0):
    """Logits of which some pixels are certain, labels, a selection and masks with padding."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(images, classes, *size, generator=generator)
    labels = torch.randint(classes, (images, *size), generator=generator)
    selected = torch.rand(images, *size, generator=generator) < 0.5
    valid = torch.ones(images, *size, dtype=torch.bool)
    for i in range(images):
        valid[i, size[0] - i :] = False
        valid[i, :, size[1] - 2 * i :] = False
    return logits, labels, selected, valid


def slow_masks(logits, valid, *limits):
    return torch.stack(
        [
            as_mask(slow_selection(maps.double(), mask, *limits), mask.shape)
            for maps, mask in zip(logits, valid, strict=True)
        ]
    )


# ---------------------------------------------------------------- selection


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_worked_on_in_float32(dtype):
    logits, _, _, valid = random_batch(spread=6.0)
    half = logits.to(dtype)
    with torch.autocast('cpu', torch.bfloat16):
        selected = select_class_aware(half, valid)
    assert torch.equal(selected, slow_masks(half.float(), valid))


class LargestTensor(TorchDispatchMode):
    """Remembers the largest new result of any operation."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not result._is_view():
            self.elements = max(self.elements, result.numel())
        return result


def test_there_is_never_more_than_a_map_of_one_image():
    logits, _, _, valid = random_batch(images=2, classes=920, size=(2, 3), spread=6.0)
    with LargestTensor() as largest:
        selected = select_class_aware(logits, valid)
    assert 0 < largest.elements <= logits[0].numel()
    assert torch.equal(selected, slow_masks(logits, valid)) and selected.any()


# ---------------------------------------------------------------- cross entropy


def test_without_pixels_it_is_zero_and_has_a_gradient():
    logits, labels, selected, valid = random_batch()
    nothing = torch.zeros_like(valid)
    for masks in ((nothing, valid), (selected, nothing)):
        logits = logits.detach().requires_grad_()
        loss = selected_cross_entropy(logits, labels, *masks)
        loss.backward()
        assert loss == 0 and (logits.grad == 0).all()


# ---------------------------------------------------------------- two processes


def loss_on_rank(rank, parts):
    logits, *rest = parts[rank]
    logits = logits.requires_grad_()
    loss = selected_cross_entropy(logits, *rest)
    loss.backward()
    return loss.detach(), logits.grad


def test_the_mean_of_two_ranks_is_one_rank():
    batch = random_batch(images=5)
    batch[3][0] = False
    parts = list(zip(*(tensor.split((2, 3)) for tensor in batch), strict=True))
    (loss_a, gradient_a), (loss_b, gradient_b) = run_on_two_ranks(loss_on_rank, parts)
    loss, gradient = loss_on_rank(0, [[tensor.clone() for tensor in batch]])
    assert abs((loss_a + loss_b) / 2 - loss) < 1e-6
    torch.testing.assert_close(torch.cat([gradient_a, gradient_b]) / 2, gradient)
