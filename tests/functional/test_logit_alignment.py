import pytest
import torch

from luss_mm.functional.consistency import (
    alignment_loss,
    perturb_features,
    standardize_logits,
)
from tests.models.slow_dssn import slow_alignment
from tests.two_ranks import run_on_two_ranks


def random_pair(images=3, classes=5, size=(6, 7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = 3 * torch.randn(2, images, classes, *size, generator=generator)
    valid = torch.rand(images, *size, generator=generator) < 0.7
    return first, second, valid


def loss_and_gradients(first, second, valid):
    first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
    loss = alignment_loss(first, second, valid)
    loss.backward()
    return loss.detach(), first.grad, second.grad


# ---------------------------------------------------------------- alignment


def test_equal_logits_and_huge_ones_stay_finite():
    first, second, valid = random_pair()
    first[:, :, :3] = 7.0
    for scale in (1, 1e6):
        loss, *gradients = loss_and_gradients(first * scale, second * scale, valid)
        assert loss.isfinite() and all(g.isfinite().all() for g in gradients)
    assert (standardize_logits(first)[:, :, :3] == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_worked_on_in_float32(dtype):
    first, second, valid = random_pair()
    first, second = first.to(dtype), second.to(dtype)
    loss = alignment_loss(first, second, valid)
    assert abs(loss.item() - slow_alignment(first.double(), second.double(), valid)) < 1e-5


def loss_on_rank(rank, parts):
    loss, *gradients = loss_and_gradients(*parts[rank])
    return loss, gradients


def test_the_mean_of_two_ranks_is_one_rank():
    batch = random_pair(images=5)
    batch[2][1] = False
    parts = list(zip(*(tensor.split((2, 3)) for tensor in batch), strict=True))
    (loss_a, gradients_a), (loss_b, gradients_b) = run_on_two_ranks(loss_on_rank, parts)
    loss, *gradients = loss_and_gradients(*batch)
    assert abs((loss_a + loss_b) / 2 - loss) < 1e-6
    for a, b, whole in zip(gradients_a, gradients_b, gradients, strict=True):
        torch.testing.assert_close(torch.cat([a, b]) / 2, whole)


# ---------------------------------------------------------------- perturbed features


def levels():
    torch.manual_seed(0)
    return [
        torch.rand(2, 200, 3, 4) + 1,
        torch.rand(2, 300, 2, 2) + 1,
        torch.rand(2, 100, 1, 1) + 1,
    ]


@pytest.mark.parametrize('rate', [0.5, 0.2])
def test_whole_channels_are_dropped_and_the_others_scaled(rate):
    features = levels()
    for before, after in zip(features, perturb_features(features, rate), strict=True):
        kept = after.flatten(2).any(dim=2)  # (B, C)
        scaled = torch.where(kept[:, :, None, None], before / (1 - rate), 0.0)
        torch.testing.assert_close(after, scaled)
        assert abs(kept.double().mean() - (1 - rate)) < 0.12
        assert not torch.equal(kept[0], kept[1])  # every image draws its own


def test_a_level_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r'levels \[0, 3\] .* gives 3 feature levels'):
        perturb_features(levels(), levels=(0, 3))
