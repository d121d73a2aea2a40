"""Steps, checkpoints and ranks."""

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper

from luss_mm.models import SemiPreprocessor
from tests.models.small_networks import without_batch_statistics
from tests.models.small_pct import batch, small_pct
from tests.two_ranks import run_on_two_ranks


def trained(**settings):
    """A model that takes bytes."""
    preprocessor = SemiPreprocessor(
        mean=[120.0, 115.0, 100.0], std=[60.0, 55.0, 50.0], bgr_to_rgb=True, size=(32, 32)
    )
    return small_pct(data_preprocessor=preprocessor, **settings)


def collated(seed, images_of=slice(None), **settings):
    """A batch as a dataloader gives it: lists of bytes."""
    inputs, data_samples = batch(seed=seed, **settings)
    bytes_of = {
        name: [(60 * image + 110).clamp(0, 255).byte() for image in images[images_of]]
        for name, images in inputs.items()
    }
    return dict(inputs=bytes_of, data_samples={k: v[images_of] for k, v in data_samples.items()})


def optimiser(model):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9))


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal_states(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[k], other[k]) for k in state)


# ---------------------------------------------------------------- two processes

SHARES = (slice(0, 1), slice(1, None))  # of the images of each view: unequal on purpose


def train_on_rank(rank, shares, steps):
    """Train in DDP with its usual settings, which refuses a network that a step leaves out."""
    model = without_batch_statistics(trained(auxiliary=(2,)))
    model.class_pixels += 1000
    if len(shares) > 1:
        model = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False)
    step = optimiser(model)
    for seed in range(steps):
        model.train_step(collated(seed, shares[rank]), step)
    return state_of(getattr(model, 'module', model))


@pytest.mark.parametrize('steps', [1, 3])
def test_two_ranks_train_what_one_rank_trains(steps):
    states = run_on_two_ranks(train_on_rank, SHARES, steps)
    assert equal_states(*states)
    expected = train_on_rank(0, (slice(None),), steps)
    start = trained(auxiliary=(2,)).state_dict()
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
    assert torch.equal(states[0]['class_pixels'], expected['class_pixels'])
    moved = states[0]['pseudo.decode_head.conv_seg.weight']
    assert (moved - start['pseudo.decode_head.conv_seg.weight']).abs().max() > 1e-3
