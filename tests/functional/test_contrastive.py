import math

import pytest
import torch
from torch.nn.functional import normalize

from luss_mm.functional.contrastive import info_nce_loss
from tests.two_ranks import run_on_two_ranks


def slow_info_nce(embeddings, temperature):
    """Pair by pair, number by number, in float64."""
    views, batch, _ = embeddings.shape
    places = [(v, b) for v in range(views) for b in range(batch)]

    def similarity(i, j):
        pairs = zip(embeddings[i].tolist(), embeddings[j].tolist(), strict=True)
        return math.fsum(a * b for a, b in pairs) / temperature

    losses = []
    for i in places:
        others = math.fsum(math.exp(similarity(i, n)) for n in places if n[1] != i[1])
        for j in places:
            if j != i and j[1] == i[1]:
                positive = math.exp(similarity(i, j))
                losses.append(-math.log(positive / (positive + others)))
    return math.fsum(losses) / len(losses)


def unit_vectors(views, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(views, batch, 5, generator=generator), dim=2)


@pytest.mark.parametrize(('views', 'batch'), [(2, 2), (4, 3), (3, 7)])
@pytest.mark.parametrize('temperature', [1.0, 0.2, 0.05])
def test_equals_numbers(views, batch, temperature):
    embeddings = unit_vectors(views, batch)
    loss = info_nce_loss(embeddings, temperature)
    assert loss.shape == () and loss.dtype == torch.float32
    assert float(loss) == pytest.approx(slow_info_nce(embeddings, temperature), rel=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_neither_overflows_nor_loses_its_gradient(dtype):
    embeddings = unit_vectors(2, 4).to(dtype).requires_grad_()
    loss = info_nce_loss(embeddings, temperature=0.001)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(embeddings.grad).all()
    assert float(loss) == pytest.approx(
        float(info_nce_loss(embeddings.detach().float(), temperature=0.001))
    )


@pytest.mark.parametrize('shape', [(1, 4, 3), (2, 1, 3)])
def test_one_view_or_one_image_is_refused(shape):
    with pytest.raises(ValueError, match='two views of two images'):
        info_nce_loss(torch.ones(shape))


def loss_and_gradient(rank, parts):
    own = parts[rank].clone().requires_grad_()
    loss = info_nce_loss(own)
    loss.backward()
    return loss.detach(), own.grad


def test_two_ranks_equal_one():
    whole = unit_vectors(3, 6).requires_grad_()
    expected = info_nce_loss(whole)
    expected.backward()
    parts = [part.contiguous() for part in whole.detach().split(3, dim=1)]
    losses, gradients = zip(*run_on_two_ranks(loss_and_gradient, parts), strict=True)
    assert torch.allclose(torch.stack(losses).mean(), expected.detach())
    # Gradients are averaged over the ranks, so each rank's embeddings have twice their share.
    assert torch.allclose(torch.cat(gradients, dim=1) / 2, whole.grad, atol=1e-6)
