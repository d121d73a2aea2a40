"""Pixels to features, one embedding an image or maps, and to what a classifier says of it."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from torch.nn import functional as F

from luss_mm.datasets import ClassLabelDataset
from luss_mm.datasets.cached_maps import CachedMaps, layout_path, values_path
from luss_mm.models.attended_backbone import AttendedInference, ImageClassifier
from luss_mm.pipeline.image_batches import (
    Arrays,
    ShardedBatches,
    join_arrays,
    stack_features,
    stack_images,
)
from luss_mm.work_dir.artifact import FinishedShards, produce
from luss_mm.work_dir.atomic_files import create_mapped_array, write_array
from luss_mm.work_dir.run_folder import (
    EMBEDDINGS,
    LABELS,
    LOSSES,
    SCORE_COUNTS,
    Features,
    load_features,
    write_selected,
    write_summary,
)

SCORE_BINS = 1000
MEGABYTE = 1e6
WITHOUT = 'cache_maps=False keeps no maps and runs the backbone in every step instead'
GIVEN, PREDICTED = 'given', 'predicted'


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
        directory: Directory of the output.
        model: With pretrained backbone and attention, in the precision that `settings` tell.
        batches: Over the training images at clustering size.
        inputs: Names to keys: the checkpoint and the data.
        settings: What else decides the embeddings.
        device: The model's.

    Returns:
        The features, read back from disk, with SCORE_BINS bins of scores.
    """

    @torch.inference_mode()
    def embed(shard_batches: Iterator[list[dict]], start: int, stop: int) -> Arrays:
        found, positions = [], []
        counts = np.zeros(SCORE_BINS, dtype=np.int64)
        for batch in shard_batches:
            images = model.data_preprocessor.normalize(stack_images(batch, device))
            embeddings, scores = model(images, stack_features(batch, device))
            found.append(embeddings.float().cpu().numpy())
            positions += [sample['index'] for sample in batch]
            bins = (scores.float() * SCORE_BINS).long().clamp_(0, SCORE_BINS - 1)
            counts += torch.bincount(bins.flatten(), minlength=SCORE_BINS).cpu().numpy()
        # Batches are in the order of sizes.
        return dict(embeddings=np.concatenate(found)[np.argsort(positions)], counts=counts)

    def make(unfinished: Path) -> None:
        model.eval().to(device)
        join = partial(_join_features, unfinished, len(batches.dataset))
        join_arrays(unfinished, batches, 'features', embed, join)

    return load_features(produce(directory, make, inputs, settings))


def _join_features(directory: Path, number: int, shards: Iterator[Arrays]) -> list[Path]:
    """Copy all shards into one file that k-means can map."""
    temporary, joined, start = directory / f'.{EMBEDDINGS}.tmp', None, 0
    total = np.zeros(SCORE_BINS, dtype=np.int64)
    for shard in shards:
        rows = shard['embeddings']
        if joined is None:
            joined = create_mapped_array(temporary, (number, rows.shape[1]))
        joined[start : start + len(rows)] = rows
        start += len(rows)
        total += shard['counts']
    joined.flush()
    del joined
    write_array(directory / SCORE_COUNTS, total)
    os.replace(temporary, directory / EMBEDDINGS)
    return [directory / EMBEDDINGS, directory / SCORE_COUNTS]


class NoRoomError(OSError):
    """The disk has too little room for the maps."""


def cache_feature_maps(
    directory: str | Path,
    model: AttendedInference,
    batches: ShardedBatches,
    outputs: Sequence[int],
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: torch.device | str = 'cpu',
) -> CachedMaps:
    """Keep the backbone's maps of every image of a data set as float16.

    Disk: twice the number of values, 474 kB an image for three maps of EfficientNet-Lite0 at 320 x
    320 pixels. Memory: one shard on each rank.

    Args:
        directory: Directory of the output.
        model: Whose backbone is frozen, in the precision that `settings` tell.
        batches: Over whole images in the size that the network sees.
        outputs: Which of the backbone's outputs, in the order in which they are kept.
        inputs: Names to keys: the checkpoint and the data.
        settings: What else decides the maps.
        device: The model's.

    Returns:
        The maps, read from disk when they are asked for.

    Raises:
        NoRoomError: If the disk lacks the room for them, before the first shard.
        ValueError: If a value does not fit float16.
    """

    def make(unfinished: Path) -> None:
        model.eval().to(device)
        _write_maps(unfinished, batches, partial(_maps_of, model, outputs, device))

    return CachedMaps(produce(directory, make, inputs, dict(settings, outputs=list(outputs))))


def _write_maps(
    directory: Path,
    batches: ShardedBatches,
    maps_of: Callable[[Sequence[Mapping[str, Any]]], list[np.ndarray]],
) -> None:
    finished = FinishedShards(directory)
    left = sum(np.diff(batches.bounds(s)).item() for s in range(len(batches)) if s not in finished)
    if left:
        _refuse_lack_of_room(directory, left, maps_of([batches.dataset[0]]))
    barrier()  # every rank has looked at the free room before one takes some of it
    for shard, shard_batches in batches.iterate(finished, 'feature maps'):
        start, stop = batches.bounds(shard)
        maps: list[list[np.ndarray]] = [[] for _ in range(start, stop)]
        sizes = np.empty((stop - start, 4), dtype=np.int32)
        for batch in shard_batches:
            levels = maps_of(batch)
            for i, sample in enumerate(batch):
                row = sample['index'] - start
                maps[row] = [level[i] for level in levels]
                sizes[row] = *sample['ori_shape'], *sample['inputs'].shape[1:]
        shapes = np.array([[m.shape for m in image] for image in maps], dtype=np.int32)
        layout = np.concatenate([sizes, shapes.reshape(len(maps), -1)], axis=1)
        files = [layout_path(directory, shard), values_path(directory, shard)]
        write_array(files[0], layout)
        write_array(files[1], np.concatenate([m.reshape(-1) for image in maps for m in image]))
        finished.add(shard, files)


@torch.inference_mode()
def _maps_of(
    model: AttendedInference,
    outputs: Sequence[int],
    device: torch.device | str,
    batch: Sequence[Mapping[str, Any]],
) -> list[np.ndarray]:
    """Maps of a batch, float16 (B, C, h, w) for each of `outputs`."""
    images = model.data_preprocessor.normalize(stack_images(batch, device))
    maps = model.feature_maps(images)
    found = [maps[output].half() for output in outputs]
    if not all(torch.isfinite(level).all() for level in found):
        raise ValueError(
            'the backbone gives values that are not finite or beyond the 65,504 of float16, in '
            f'which its maps would be kept. {WITHOUT}.'
        )
    return [level.contiguous().cpu().numpy() for level in found]


def _refuse_lack_of_room(directory: Path, images: int, maps: Sequence[np.ndarray]) -> None:
    """Log how large the maps will be, as if all images had those of the first one."""
    needed = images * sum(level.nbytes for level in maps)
    free = shutil.disk_usage(directory).free
    told = (
        f'the maps of {images:,} images take about {needed / MEGABYTE:,.1f} MB of the '
        f'{free / MEGABYTE:,.0f} MB that are free'
    )
    print_log(f'feature maps: {told}. {WITHOUT}.', logger='current')
    if needed > free:
        raise NoRoomError(f'{directory.parent}: {told}. Free some space; {WITHOUT}.')


@dataclass(frozen=True)
class ScoringRule:
    """Which labels come out, and against which labels a loss is taken.

    Attributes:
        labels: 'given' keeps the labels that the classifier was trained with, 'predicted' replaces
            them by its own.
        loss_labels: 'given' or 'predicted'.
        flip_average: Average the logits over the image and its mirror image.
    """

    labels: str = GIVEN
    loss_labels: str = GIVEN
    flip_average: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no choice."""
        for name in ('labels', 'loss_labels'):
            if (choice := getattr(self, name)) not in (GIVEN, PREDICTED):
                raise ValueError(f"{name}: '{GIVEN}' or '{PREDICTED}', not {choice!r}")


def score_images(
    directory: str | Path,
    classifier: ImageClassifier,
    batches: ShardedBatches,
    rule: ScoringRule,
    inputs: Mapping[str, Any],
    device: torch.device | str = 'cpu',
) -> Path:
    """Loss and label of every image of a data set, over all ranks.

    Writes `losses.npy`, float32 (N,), and `labels.npy`, int32 (N,), in the order of the data set.
    Memory: a shard on each rank. Disk: 8 bytes an image.

    Args:
        directory: Directory of the output.
        classifier: Put into eval mode.
        batches: Over a data set whose samples carry `class_label`.
        rule: Which labels and losses.
        inputs: Names to keys: the classifier's weights, the data.
        device: The classifier's.

    Returns:
        The directory.
    """

    @torch.inference_mode()
    def score(shard_batches: Iterator[list[dict]], start: int, stop: int) -> Arrays:
        losses = np.empty(stop - start, dtype=np.float32)
        labels = np.empty(stop - start, dtype=np.int32)
        for batch in shard_batches:
            images = torch.stack([sample['inputs'] for sample in batch]).to(device)
            given = torch.tensor([sample['class_label'] for sample in batch], device=device)
            rows = [sample['index'] - start for sample in batch]
            found = score_batch(classifier, images, given, rule)
            losses[rows], labels[rows] = (values.cpu().numpy() for values in found)
        return dict(losses=losses, labels=labels)

    def make(unfinished: Path) -> None:
        classifier.eval().to(device)
        join = partial(_join_scores, unfinished)
        join_arrays(unfinished, batches, 'classifier scores', score, join)

    settings = dict(vars(rule), batch_size=batches.batch_size, shard_size=batches.shard_size)
    return produce(directory, make, inputs, settings)


def _join_scores(directory: Path, shards: Iterator[Arrays]) -> list[Path]:
    losses, labels = zip(*((shard['losses'], shard['labels']) for shard in shards), strict=True)
    losses, labels = np.concatenate(losses), np.concatenate(labels)
    write_summary(directory, dict(mean_loss=float(losses.mean()), images=len(losses)))
    write_array(directory / LOSSES, losses)
    write_array(directory / LABELS, labels)
    return [directory / LOSSES, directory / LABELS]


def score_batch(
    classifier: ImageClassifier, images: torch.Tensor, given: torch.Tensor, rule: ScoringRule
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses, float32 (B,), and labels, int64 (B,).

    Args:
        classifier: In eval mode.
        images: uint8 RGB on its device. Shape (B, 3, h, w).
        given: Labels that it was trained with, int64 (B,).
        rule: Which labels and losses.
    """
    normalized = classifier.data_preprocessor.normalize(images)
    logits = classifier(normalized).float()  # (B, K)
    if rule.flip_average:
        logits = (logits + classifier(normalized.flip(-1)).float()) / 2
    choices = {GIVEN: given, PREDICTED: logits.argmax(dim=1)}
    losses = F.cross_entropy(logits, choices[rule.loss_labels], reduction='none')
    return losses, choices[rule.labels]


def write_selection(
    directory: str | Path, dataset: ClassLabelDataset, total: np.ndarray, kept: np.ndarray
) -> Path:
    """Write the relative paths of the selected images and the counts of each category.

    Args:
        directory: Gets `images.txt`, a path a line in the order of the data set, and `counts.json`
            with the lists `total` and `kept`.
        dataset: The selected images.
        total: Images of each category before the selection, int (K,).
        kept: Images of each category after it, int (K,).

    Returns:
        The directory.
    """

    def make(unfinished: Path) -> None:
        if not is_main_process():
            return
        images = (dataset.relative_path(i) for i in range(len(dataset)))
        write_selected(unfinished, images, total.tolist(), kept.tolist())

    inputs = dict(images=dataset.fingerprint())
    return produce(directory, make, inputs, dict(small_loss=dataset.small_loss))
