"""What a classifier says of every training image: a loss and a label."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from torch.nn import functional as F

from luss_mm.atomic_files import write_array, write_atomically
from luss_mm.models.image_classifier import ImageClassifier
from luss_mm.pipeline.artifact import produce
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.output_files import is_whole_array

LOSSES = 'losses.npy'
LABELS = 'labels.npy'
GIVEN, PREDICTED = 'given', 'predicted'
SCORE = np.dtype([('loss', np.float32), ('label', np.int32)])


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
        directory: Of the output.
        classifier: Put into eval mode.
        batches: Over a data set whose samples carry `class_label`.
        rule: Which labels and losses.
        inputs: Names to keys: the classifier's weights, the data.
        device: The classifier's.

    Returns:
        The directory.
    """

    def make(unfinished: Path) -> None:
        if not _is_joined(unfinished):  # else joined already, interrupted later
            _score_shards(unfinished, classifier, batches, rule, device)
            barrier()
        if is_main_process():
            _join_shards(unfinished, len(batches))

    settings = dict(vars(rule), batch_size=batches.batch_size, shard_size=batches.shard_size)
    return produce(directory, make, inputs, settings)


@torch.inference_mode()
def _score_shards(
    directory: Path,
    classifier: ImageClassifier,
    batches: ShardedBatches,
    rule: ScoringRule,
    device: torch.device | str,
) -> None:
    classifier.eval().to(device)
    finished = {s for s in range(len(batches)) if is_whole_array(_shard(directory, s))}
    for shard, shard_batches in batches.iterate(finished, 'classifier scores'):
        start, stop = batches.bounds(shard)
        scores = np.empty(stop - start, dtype=SCORE)
        for batch in shard_batches:
            images = torch.stack([sample['inputs'] for sample in batch]).to(device)
            given = torch.tensor([sample['class_label'] for sample in batch], device=device)
            losses, labels = score_batch(classifier, images, given, rule)
            rows = [sample['index'] - start for sample in batch]
            scores['loss'][rows] = losses.cpu().numpy()
            scores['label'][rows] = labels.cpu().numpy()
        write_array(_shard(directory, shard), scores)


def _join_shards(directory: Path, num_shards: int) -> None:
    if not _is_joined(directory):
        scores = np.concatenate([np.load(_shard(directory, s)) for s in range(num_shards)])
        summary = dict(mean_loss=float(scores['loss'].mean()), images=len(scores))
        write_atomically(directory / 'summary.json', json.dumps(summary).encode())
        write_array(directory / LOSSES, scores['loss'])
        write_array(directory / LABELS, scores['label'])  # the last: all is there
    for shard in range(num_shards):
        _shard(directory, shard).unlink(missing_ok=True)


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


def _is_joined(directory: Path) -> bool:
    return is_whole_array(directory / LABELS) and is_whole_array(directory / LOSSES)


def _shard(directory: Path, shard: int) -> Path:
    return directory / f'.shard-{shard:06d}.npy'
