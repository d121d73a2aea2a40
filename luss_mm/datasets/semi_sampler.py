"""Batches of labelled and unlabelled images as functions of the iteration number."""

import math
from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from luss_mm.datasets.endless_passes import EndlessPasses
from luss_mm.datasets.sample_seed import EpochIndex
from luss_mm.datasets.semi_dataset import SemiDataset

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
        seed: Of the run; None takes one that all ranks agree on.
        epoch_iterations: Of an epoch; None for one pass over the unlabelled images. In
            iteration-based training give the whole length: mmengine starts the loader anew, workers
            too, after every epoch.

    Raises:
        ValueError: If a number is not positive, or there is no other image for a partner.
    """

    def __init__(
        self,
        dataset: SemiDataset,
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
