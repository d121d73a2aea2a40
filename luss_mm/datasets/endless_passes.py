"""Shuffled pass after shuffled pass, without end and without state."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Dataset, Sampler

from luss_mm.datasets.sample_seed import EpochIndex

BLOCK = 1024  # draws that are looked up at a time


class EndlessPasses:
    """An endless sequence of draws from a set: one shuffled pass after another.

    Draw t lies in pass t // n, at place t % n of its order.

    Args:
        length: Of the set, n.
        seed: Of the run.
        source: Number of the set; each has orders of its own.
    """

    def __init__(self, length: int, seed: int, source: int) -> None:
        self.length = length
        self._key = seed, source
        self._pass = lru_cache(maxsize=2)(self._draw_pass)  # a batch rarely lies in more

    def draw(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Members that are drawn, and a partner for each.

        A partner lies some places further in the order of the pass. Every pass draws this number in
        1 .. n - 1 anew, so no draw is its own partner unless n = 1.

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
    seen before, and start its workers anew after every pass.

    Args:
        dataset: A `SeededDataset`, n images.
        seed: Of the run; None takes one that all ranks agree on.
    """

    def __init__(self, dataset: Dataset, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.skipped = 0
        seed = sync_random_seed() if seed is None else seed
        self._passes = EndlessPasses(len(dataset), seed, source=0)

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
