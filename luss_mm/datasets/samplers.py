"""Indices that know their epoch, seeds made of them, and samplers that hand them out."""

import logging
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, RepeatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import ConcatDataset, Dataset, Sampler, get_worker_info

if TYPE_CHECKING:
    from luss_mm.datasets.semi_dataset import SemiDataset  # imports this


class EpochIndex(int):
    """Index of a sample that knows its epoch.

    `RepeatDataset` and `ConcatDataset` make the index of an inner data set by a remainder or a
    difference. Both keep the epoch, and the outermost index to draw from: repetitions of an image
    and equal places of two data sets draw differently.

    Args:
        index: Index of the sample within the data set.
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
        seed: Seed of the run.
        epoch: Pass over the data set.
        index: Index of the sample within the data set.
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
        dataset: Data set of a sampler whose indices carry the epoch.
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


BLOCK = 1024  # draws that are looked up at a time


class EndlessPasses:
    """An endless sequence of draws from a set: one shuffled pass after another.

    Draw t lies in pass t // n, at place t % n of its order.

    Args:
        length: Length of the set, n.
        seed: Seed of the run.
        source: Number of the set; each has orders of its own.
    """

    def __init__(self, length: int, seed: int, source: int) -> None:
        self.length = length
        self._key = seed, source
        self._pass = lru_cache(maxsize=2)(self._draw_pass)  # a batch rarely lies in more

    def draw(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Members that are drawn, and a partner for each.

        A partner lies some places further in the order of the pass. Every pass draws this number in
        1 .. n - 1 afresh, so no draw is its own partner unless n = 1.

        Args:
            draws: Numbers t, int64. Shape (B,).

        Returns:
            Pass, position in the set, and position of the partner, int64 (B,) each.
        """
        passes, places = np.divmod(draws, self.length)
        positions, partners = np.empty((2, len(draws)), dtype=np.int64)
        for number in np.unique(passes):
            order, shift = self._pass(int(number))
            there = passes == number
            positions[there] = order[places[there]]
            partners[there] = order[(places[there] + shift) % self.length]
        return passes, positions, partners

    def _draw_pass(self, number: int) -> tuple[np.ndarray, int]:
        """Order of a pass, int64 (n,), and how far away partners are."""
        generator = np.random.default_rng([*self._key, number])
        order = generator.permutation(self.length)
        return order, int(generator.integers(1, self.length)) if self.length > 1 else 0


@DATA_SAMPLERS.register_module()
class IterationSampler(Sampler):
    """Endless shuffled passes for iteration-based training, which resumes at once.

    Indices carry the pass as their epoch, see `EpochIndex`. No image is dropped at the
    end of a pass, and the ranks share the draws: N ranks see what one rank sees whose batch is N
    times as large. mmengine's IterBasedTrainLoop would otherwise load, on resuming, all that was
    seen before, and start its workers again after every pass.

    Args:
        dataset: A `SeededDataset`, n images.
        seed: Seed of the run; None takes one that all ranks agree on.
    """

    def __init__(self, dataset: Dataset, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.skipped = 0
        seed = sync_random_seed() if seed is None else seed
        self._passes = EndlessPasses(len(dataset), seed, source=0)
        warn_of_lost_epochs(dataset)

    def __iter__(self) -> Iterator[EpochIndex]:
        """Indices of this rank, without end."""
        drawn = self.skipped
        while True:
            draws = np.arange(drawn, drawn + BLOCK) * self.world_size + self.rank
            passes, positions, _ = self._passes.draw(draws)
            yield from map(EpochIndex, positions.tolist(), passes.tolist())
            drawn += BLOCK

    def __len__(self) -> int:
        """Images of the data set."""
        return len(self.dataset)

    def skip(self, num_samples: int) -> None:
        """Begin after that many samples of this rank."""
        self.skipped = num_samples


LABELLED, UNLABELLED = range(2)  # numbers of the sources


@DATA_SAMPLERS.register_module()
class SemiSampler(Sampler):
    """Yields for each iteration labelled images, unlabelled images and, if asked, their partners.

    What an iteration sees is a function of seed and iteration alone: a resumed training sees what
    an uninterrupted one would, and the batches of N ranks together are the batch of one rank that
    has N times as many of each. Indices carry the pass as their epoch, see `EpochIndex`, so that an
    image is augmented differently in every pass.

    Args:
        dataset: The images, labelled ones first.
        labelled: Images of a rank's batch, at least 1.
        unlabelled: The same.
        partners: Add to each unlabelled image another one, to be mixed with it. Slot i of the
            partners belongs to slot i of the unlabelled images.
        seed: Seed of the run; None takes one that all ranks agree on.
        epoch_iterations: Iterations of an epoch; None for one pass over the unlabelled images. In
            iteration-based training give the whole length: mmengine restarts the loader and its
            workers after every epoch.

    Raises:
        ValueError: If a number is not positive, or there is no other image for a partner.
    """

    def __init__(
        self,
        dataset: 'SemiDataset',
        labelled: int,
        unlabelled: int,
        partners: bool = False,
        seed: int | None = None,
        epoch_iterations: int | None = None,
    ) -> None:
        if min(labelled, unlabelled, 1 if epoch_iterations is None else epoch_iterations) < 1:
            raise ValueError(
                f'labelled={labelled}, unlabelled={unlabelled} and epoch_iterations='
                f'{epoch_iterations} must be at least 1'
            )
        if partners and dataset.num_unlabelled < 2:
            raise ValueError(
                'partners=True mixes an unlabelled image with another one, and there is only one'
            )
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.dataset = dataset
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.partners = partners
        per_pass = math.ceil(dataset.num_unlabelled / (unlabelled * self.world_size))
        self.epoch_iterations = epoch_iterations or per_pass
        self.batch_size = self.count_samples(labelled, unlabelled, partners)
        self.epoch = 0
        self.skipped = 0
        self._sources = (
            EndlessPasses(dataset.num_labelled, self.seed, LABELLED),
            EndlessPasses(dataset.num_unlabelled, self.seed, UNLABELLED),
        )

    @staticmethod
    def count_samples(labelled: int, unlabelled: int, partners: bool = False) -> int:
        """Samples of an iteration on a rank: the loader's batch size."""
        return labelled + unlabelled * (1 + partners)

    def __iter__(self) -> Iterator[EpochIndex]:
        """Indices of this rank in the epoch given by `set_epoch`."""
        first = self.skipped + self.epoch * self.epoch_iterations
        for iteration in range(first, first + self.epoch_iterations):
            passes, positions = self.draws_of(iteration)
            yield from map(EpochIndex, positions.tolist(), passes.tolist())

    def __len__(self) -> int:
        """Samples of an epoch on this rank."""
        return self.epoch_iterations * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; they are counted from where `skip` led."""
        self.epoch = epoch

    def skip(self, num_samples: int) -> None:
        """Begin after that many samples of this rank; mmengine's IterBasedTrainLoop resumes so.

        Raises:
            ValueError: If that is no whole number of iterations.
        """
        if num_samples % self.batch_size:
            raise ValueError(f'{num_samples} samples are no whole batches of {self.batch_size}')
        self.skipped = num_samples // self.batch_size

    def draws_of(self, iteration: int) -> tuple[np.ndarray, np.ndarray]:
        """Passes and positions of this rank in an iteration, int64. Shape (batch_size,) each."""
        labelled_passes, labelled, _ = self._draw(LABELLED, iteration, self.labelled)
        passes, images, partners = self._draw(UNLABELLED, iteration, self.unlabelled)
        drawn, first = [(labelled_passes, labelled)], self.dataset.num_labelled
        if self.partners:
            # Passes of their own: an image as a partner is not augmented as when drawn itself.
            drawn += [(2 * passes, first + images), (2 * passes + 1, first + partners)]
        else:
            drawn.append((passes, first + images))
        passes, positions = zip(*drawn, strict=True)
        return np.concatenate(passes), np.concatenate(positions)

    def _draw(self, source: int, iteration: int, count: int) -> tuple[np.ndarray, ...]:
        """This rank's slice of the global batch; see `EndlessPasses.draw`."""
        first = (iteration * self.world_size + self.rank) * count
        return self._sources[source].draw(np.arange(first, first + count))
