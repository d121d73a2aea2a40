"""What a trained classifier says of every image: its loss and its label."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from torch.nn import functional as F

from luss_mm.datasets import ClassLabelDataset
from luss_mm.models.attended_backbone import ImageClassifier
from luss_mm.pipeline.image_batches import Arrays, ShardedBatches, join_arrays
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.atomic_files import write_array
from luss_mm.work_dir.run_folder import LABELS, LOSSES, write_selected, write_summary

GIVEN, PREDICTED = 'given', 'predicted'


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
        join = partial(_join_shards, unfinished)
        join_arrays(unfinished, batches, 'classifier scores', score, join)

    settings = dict(vars(rule), batch_size=batches.batch_size, shard_size=batches.shard_size)
    return produce(directory, make, inputs, settings)


def _join_shards(directory: Path, shards: Iterator[Arrays]) -> list[Path]:
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
