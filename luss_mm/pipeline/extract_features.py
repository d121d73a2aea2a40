"""Pixels to features: one embedding an image and the histogram of foreground scores."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process

from luss_mm.models.attended_inference import AttendedInference
from luss_mm.pipeline.image_batches import ShardedBatches, stack_features, stack_images
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.atomic_files import write_array
from luss_mm.work_dir.mapped_array import create_mapped_array
from luss_mm.work_dir.run_folder import EMBEDDINGS, SCORE_COUNTS, Features, load_features
from luss_mm.work_dir.shards import JOINED, FinishedShards

SCORE_BINS = 1000


def extract_features(
    directory: str | Path,
    model: AttendedInference,
    batches: ShardedBatches,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: torch.device | str = 'cpu',
) -> Features:
    """Embed every image of a data set once.

    Disk: 4 C bytes an image, twice that while shards are joined (ImageNet-S919 with C = 2048:
    9.7 GB, 19.4 GB). Memory: one shard on each rank.

    Args:
        directory: Of the output.
        model: With pretrained backbone and attention, in the precision that `settings` tell.
        batches: Over the training images at clustering size.
        inputs: Names to keys: the checkpoint and the data.
        settings: What else decides the embeddings.
        device: The model's.

    Returns:
        The features, read back from disk, with SCORE_BINS bins of scores.
    """

    def make(unfinished: Path) -> None:
        finished = FinishedShards(unfinished)
        if JOINED not in finished:  # else interrupted later
            _extract_shards(finished, model, batches, device)
            barrier()
        if is_main_process():
            _join_shards(finished, batches)

    return load_features(produce(directory, make, inputs, settings))


@torch.inference_mode()
def _extract_shards(
    finished: FinishedShards,
    model: AttendedInference,
    batches: ShardedBatches,
    device: torch.device | str,
) -> None:
    model.eval().to(device)
    for shard, shard_batches in batches.iterate(finished, 'features'):
        start, stop = batches.bounds(shard)
        rows: np.ndarray | None = None
        counts = np.zeros(SCORE_BINS, dtype=np.int64)
        for batch in shard_batches:
            images = model.data_preprocessor.normalize(stack_images(batch, device))
            embeddings, scores = model(images, stack_features(batch, device))
            if rows is None:
                rows = np.empty((stop - start, embeddings.shape[1]), dtype=np.float32)
            rows[[sample['index'] - start for sample in batch]] = embeddings.cpu().numpy()
            bins = (scores.float() * SCORE_BINS).long().clamp_(0, SCORE_BINS - 1)
            counts += torch.bincount(bins.flatten(), minlength=SCORE_BINS).cpu().numpy()
        files = _counts_path(finished.directory, shard), _shard_path(finished.directory, shard)
        write_array(files[0], counts)
        write_array(files[1], rows)
        finished.add(shard, files)


def _join_shards(finished: FinishedShards, batches: ShardedBatches) -> None:
    """Copy all shards into one file that k-means can map; shards go only when it is complete."""
    if JOINED not in finished:
        directory = finished.directory
        channels = np.load(_shard_path(directory, 0), mmap_mode='r').shape[1]
        temporary = directory / f'.{EMBEDDINGS}.tmp'
        joined = create_mapped_array(temporary, (len(batches.dataset), channels))
        total = np.zeros(SCORE_BINS, dtype=np.int64)
        for shard in range(len(batches)):
            joined[slice(*batches.bounds(shard))] = np.load(_shard_path(directory, shard))
            total += np.load(_counts_path(directory, shard))
        joined.flush()
        del joined
        write_array(directory / SCORE_COUNTS, total)
        os.replace(temporary, directory / EMBEDDINGS)
        finished.add(JOINED, [directory / EMBEDDINGS, directory / SCORE_COUNTS])
    for shard in range(len(batches)):
        finished.remove(shard)


def _shard_path(directory: Path, shard: int) -> Path:
    return directory / f'shard-{shard:06d}.npy'


def _counts_path(directory: Path, shard: int) -> Path:
    return directory / f'shard-{shard:06d}.counts.npy'
