"""Which foreground scores count as object."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from luss_mm.functional.thresholds import otsu_threshold
from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.pipeline.artifact import produce, write_atomically
from luss_mm.pipeline.image_batches import ShardedBatches


@dataclass(frozen=True)
class ThresholdRule:
    """How the threshold is chosen.

    Attributes:
        rule: 'otsu', a number in [0, 1], or 'validation_sweep'.
        sweep_batches: Whole validation images with masks; the sweep alone reads them.
    """

    rule: str | float
    sweep_batches: ShardedBatches | None = None

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        is_number = isinstance(self.rule, (int, float)) and 0 <= self.rule <= 1
        if not is_number and self.rule not in ('otsu', 'validation_sweep'):
            raise ValueError(
                "foreground_threshold: 'otsu', 'validation_sweep' or a number in [0, 1], not "
                f'{self.rule!r}'
            )


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold and what labels were looked at to find it."""

    threshold: float
    used_ground_truth: tuple[str, ...] = ()


def choose_threshold(
    directory: str | Path,
    rule: ThresholdRule,
    model: PixelAttentionModel,
    score_counts: np.ndarray,
    centroids: np.ndarray,
    inputs: Mapping[str, Any],
    device: torch.device | str = 'cpu',
) -> ThresholdChoice:
    """Choose the foreground threshold and write it down.

    Args:
        directory: Of the output.
        rule: How to choose.
        model: Used by the sweep alone.
        score_counts: Histogram of the training foreground scores over [0, 1]. int64 (B,).
        centroids: Used by the sweep alone. float32 (K, C).
        inputs: Names to keys.
        device: The model's.
    """
    used = ('validation masks: foreground threshold',) if rule.rule == 'validation_sweep' else ()

    def make(unfinished: Path) -> None:
        if rule.rule == 'validation_sweep':
            raise SystemExit('sweep')
        threshold = otsu_threshold(score_counts) if rule.rule == 'otsu' else float(rule.rule)
        if is_main_process():
            outcome = dict(threshold=threshold, rule=rule.rule)
            write_atomically(unfinished / 'threshold.json', json.dumps(outcome).encode())

    path = produce(directory, make, inputs, dict(rule=rule.rule), used_ground_truth=used)
    threshold = json.loads((path / 'threshold.json').read_text())['threshold']
    labels = used[0] if used else 'no labels looked at'
    print_log(f'foreground threshold {threshold:.3f} ({rule.rule}; {labels})', logger='current')
    return ThresholdChoice(threshold, used)
