"""Every sample draws from (seed, epoch, index), or afresh where nothing tells the epoch."""

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, RepeatDataset
from mmengine.logging import print_log
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import ConcatDataset, Dataset, get_worker_info


class EpochIndex(int):
    """Index of a sample that knows its epoch.

    `RepeatDataset` and `ConcatDataset` make the index of an inner data set by a remainder or a
    difference. Both keep the epoch, and the outermost index to draw from: repetitions of an image
    and equal places of two data sets draw differently.

    Args:
        index: Of the sample within the data set.
        epoch: Pass over the data set.
        drawn: Index within the outermost data set; None if that is `index`.
    """

    def __new__(cls, index: int, epoch: int, drawn: int | None = None) -> 'EpochIndex':
        """Integers are made here."""
        made = super().__new__(cls, index)
        made.epoch = int(epoch)
        made.drawn = int(index) if drawn is None else int(drawn)
        return made

    def __getnewargs__(self) -> tuple[int, int, int]:
        """For the way to a loading process."""
        return int(self), self.epoch, self.drawn

    def __sub__(self, other: int) -> 'EpochIndex':
        """Index within a data set that begins `other` samples later."""
        return EpochIndex(int(self) - other, self.epoch, self.drawn)

    def __mod__(self, other: int) -> 'EpochIndex':
        """Index within a data set that is repeated after `other` samples."""
        return EpochIndex(int(self) % other, self.epoch, self.drawn)


@dataclass(frozen=True)
class OneEpoch:
    """Indices as a sampler that draws them all in one epoch.

    Attributes:
        indices: In their order.
        epoch: Pass over the data set.
    """

    indices: Sequence[int]
    epoch: int = 0

    def __iter__(self) -> Iterator[EpochIndex]:
        """The indices, each with the epoch."""
        return (EpochIndex(index, self.epoch) for index in self.indices)

    def __len__(self) -> int:
        """Number of indices."""
        return len(self.indices)


def fresh_key() -> tuple[int, int]:
    """A key that no sample has drawn from before, a function of the process's seeds.

    numpy's generator moves on with every key and differs between ranks and workers. mmengine seeds
    it alike whenever a worker starts; the worker's own seed, which torch draws, then differs.
    """
    worker = get_worker_info()
    return int(np.random.randint(2**31)), 0 if worker is None else worker.seed


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


KEEP_EPOCHS = (ConcatDataset, RepeatDataset)  # of torch and mmengine: they compute the index


def warn_of_lost_epochs(dataset: Dataset) -> None:
    """Log a line if a wrapper between a sampler and the images drops the epoch of an index.

    mmengine's `ClassBalancedDataset` and torch's `Subset` look the index up in a list, which hands
    on a plain integer: samples are then drawn afresh, as with mmseg's data sets.

    Args:
        dataset: Of a sampler whose indices carry the epoch.
    """
    parts = [dataset]
    while parts:
        wrapper = parts.pop()
        inner = getattr(wrapper, 'datasets', None) or [getattr(wrapper, 'dataset', None)]
        parts += [part for part in inner if part is not None]
        if inner != [None] and not isinstance(wrapper, KEEP_EPOCHS):
            print_log(
                f'{type(wrapper).__name__} hands on no epoch, so augmentations are drawn freely '
                'and a resumed run draws others than an uninterrupted one. To choose images '
                'instead, set indices of the inner data set.',
                'current',
                logging.WARNING,
            )
            return


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """mmengine's DefaultSampler whose indices carry the epoch, see `EpochIndex`.

    So persistent workers, prefetching and resuming all see the right epoch, with no state outside
    the index. See `warn_of_lost_epochs` for wrappers that drop it.
    """

    def __init__(
        self,
        dataset: Dataset,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        super().__init__(dataset, shuffle, seed, round_up)
        warn_of_lost_epochs(dataset)

    def __iter__(self) -> Iterator[EpochIndex]:
        """Indices of this rank for the epoch given by `set_epoch`."""
        return (EpochIndex(index, self.epoch) for index in super().__iter__())
