"""A data set shard by shard in batches of equal size, and outputs that are made shard by shard."""

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info, is_main_process
from torch.utils.data import DataLoader, Dataset

from luss_mm.datasets.mask_files import save_label_map
from luss_mm.datasets.samplers import OneEpoch
from luss_mm.terminal import Progress
from luss_mm.work_dir.artifact import FinishedShards
from luss_mm.work_dir.atomic_files import BackgroundWriter, opened_atomically

Item = TypeVar('Item')
Arrays = Mapping[str, np.ndarray]
JOINED = 'joined'  # the piece that all shards were copied into


class ShardedBatches:
    """Batches of a map-style data set, grouped into shards of consecutive samples.

    A shard is the unit of work: it belongs to one rank, it is finished or not, and its batches
    depend on nothing outside it. So results are the same on any number of ranks and after any
    interruption.

    Args:
        dataset: Yields dicts with `inputs` (3, h, w), `index` and `ori_shape` (see PackImage).
        batch_size: Images of one shape that are batched together at most.
        shard_size: Samples of a shard.
        num_workers: Loading processes.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, shard_size: int = 256, num_workers: int = 0
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shard_size = shard_size
        self.num_workers = num_workers

    def __len__(self) -> int:
        """Number of shards."""
        return -(-len(self.dataset) // self.shard_size)

    def bounds(self, shard: int) -> tuple[int, int]:
        """First sample of a shard and the one after its last."""
        start = shard * self.shard_size
        return start, min(start + self.shard_size, len(self.dataset))

    def iterate(
        self, finished: Container[int], title: str
    ) -> Iterator[tuple[int, Iterator[list[dict]]]]:
        """This rank's unfinished shards, each with its batches of equally sized images.

        Args:
            finished: Shards to leave out; see `FinishedShards`.
            title: For the progress lines.

        Yields:
            Shard and an iterator over its batches; a batch is a list of samples. The batches of a
            shard must be used up before the next shard is asked for.
        """
        rank, world = get_dist_info()
        # Which shards are a rank's must not depend on `finished`: ranks may have seen other files.
        shards = [s for s in range(rank, len(self), world) if s not in finished]
        indices = [i for shard in shards for i in range(*self.bounds(shard))]
        samples = iter(self._loader(indices)) if indices else iter(())
        progress = Progress(title, len(indices))
        for shard in shards:
            start, stop = self.bounds(shard)
            yield shard, self._batches(samples, stop - start, progress)

    def _batches(
        self, samples: Iterator[dict], count: int, progress: Progress
    ) -> Iterator[list[dict]]:
        for batch in batches_of_equal_size(
            islice(samples, count), lambda sample: sample['inputs'].shape, self.batch_size
        ):
            yield batch
            progress.advance(len(batch))

    def _loader(self, indices: list[int]) -> DataLoader:
        return DataLoader(
            self.dataset,
            sampler=OneEpoch(indices),
            batch_size=None,
            num_workers=self.num_workers,
            prefetch_factor=16 if self.num_workers else None,
        )


def batches_of_equal_size(
    samples: Iterable[Item],
    shape: Callable[[Item], tuple[int, ...]],
    batch_size: int,
    window: float = math.inf,
) -> Iterator[list[Item]]:
    """Group samples of one shape, so that a batch needs no padding.

    Args:
        samples: In any order of shapes.
        shape: Shape of a sample.
        batch_size: Samples of a batch at most.
        window: Samples that wait for others of their shape at most; then the fullest group goes.

    Yields:
        Every sample once.
    """
    waiting: dict[tuple[int, ...], list[Item]] = {}
    count = 0
    for sample in samples:
        key = tuple(shape(sample))
        waiting.setdefault(key, []).append(sample)
        count += 1
        if len(waiting[key]) < batch_size and count < window:
            continue
        fullest = max(waiting, key=lambda k: len(waiting[k]))
        batch = waiting.pop(fullest)
        count -= len(batch)
        yield batch
    yield from waiting.values()


def stack_images(
    samples: Sequence[Mapping[str, Any]], device: torch.device | str, key: str = 'inputs'
) -> torch.Tensor:
    """Images of a batch on a device. Shape (B, 3, h, w).

    On the way to a GPU they pass through locked memory, so that copying does not stop this thread.

    Args:
        samples: With `inputs` of one shape, (3, h, w) each.
        device: Where the images go.
        key: Key of the samples, for other tensors than `inputs`.
    """
    images = [sample[key] for sample in samples]
    if torch.device(device).type != 'cuda':
        return torch.stack(images).to(device)
    locked = images[0].new_empty((len(images), *images[0].shape), pin_memory=True)
    return torch.stack(images, out=locked).to(device, non_blocking=True)


def stack_features(
    samples: Sequence[Mapping[str, Any]], device: torch.device | str
) -> torch.Tensor | None:
    """Cached maps of a batch as float32 (B, C, h, w), or None if the samples carry none."""
    if 'features' not in samples[0]:
        return None
    return stack_images(samples, device, 'features').float()


def join_arrays(
    directory: Path,
    batches: ShardedBatches,
    title: str,
    make_shard: Callable[[Iterator[list[dict]], int, int], Arrays],
    join: Callable[[Iterator[Arrays]], Iterable[Path]],
) -> None:
    """Make arrays shard by shard and copy them into files for all of it; collective.

    The shards go only when these files are complete. Memory: one shard on each rank.

    Args:
        directory: Directory of the output.
        batches: Over the images.
        title: Title of the progress.
        make_shard: Arrays of a shard from its batches, its first sample and the one after its last.
        join: Copies the arrays of all shards, which come in order, on rank 0; returns the files for
            all of them.
    """
    finished, paths = FinishedShards(directory), []
    for shard in range(len(batches)):
        paths.append(directory / f'.shard-{shard:06d}.npz')
    if JOINED not in finished:  # else interrupted later
        for shard, shard_batches in batches.iterate(finished, title):
            arrays = make_shard(shard_batches, *batches.bounds(shard))
            with opened_atomically(paths[shard]) as file:
                np.savez(file, **arrays)
            finished.add(shard, [paths[shard]])
        barrier()
    if is_main_process():
        if JOINED not in finished:
            finished.add(JOINED, join(dict(np.load(path)) for path in paths))
        for shard in range(len(batches)):
            finished.remove(shard)


def write_label_maps(
    finished: FinishedShards,
    batches: ShardedBatches,
    title: str,
    label: Callable[[list[dict]], Iterator[tuple[dict, np.ndarray, Counter]]],
) -> None:
    """Write this rank's label maps that are not finished, `<directory>/<label_map_name>`.

    Args:
        finished: Finished shards of the output; keeps what was counted in each shard.
        batches: Over the images.
        title: Title of the progress.
        label: Samples of a batch, their ids (H, W) and what is to be counted.
    """
    with BackgroundWriter() as writer:
        for shard, shard_batches in batches.iterate(finished, title):
            outcomes: Counter[str] = Counter()
            files = []
            for batch in shard_batches:
                for sample, labels, outcome in label(batch):
                    name = batches.dataset.label_map_name(sample['index'])
                    files.append(finished.directory / name)
                    writer.submit(save_label_map, files[-1], labels)
                    outcomes.update(outcome)
            writer.finish()
            finished.add(shard, files, outcomes)
