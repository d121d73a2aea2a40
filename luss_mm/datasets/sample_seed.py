"""Every sample draws from (seed, epoch, index), whatever process or order it is made in."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmseg.registry import DATA_SAMPLERS


@contextmanager
def sample_randomness(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Let `random`, numpy's and torch's global generators start from (seed, epoch, index).

    mmcv's, mmseg's and torchvision's transforms draw from those generators. Their states are put
    back afterwards, so loading in the main process leaves training's random numbers alone.

    Args:
        seed: Of the run.
        epoch: Pass over the data set.
        index: Of the sample within the data set.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence([seed, epoch, index]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.random.default_generator.manual_seed(int(words[2]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """mmengine's DefaultSampler whose indices carry the epoch: epoch * len(dataset) + index.

    `LUSSDataset` takes them apart. So persistent workers, prefetching and resuming all see the
    right epoch, with no state outside the index.
    """

    def __iter__(self) -> Iterator[int]:
        """Indices of this rank for the epoch given by `set_epoch`."""
        offset = self.epoch * len(self.dataset)
        return (offset + index for index in super().__iter__())
