"""Which foreground scores count as object."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.logging import print_log

from luss_mm.functional.pixel_assignment import label_by_centroid, resize_score
from luss_mm.functional.score_histograms import certain_scores, otsu_threshold
from luss_mm.functional.thresholds import (
    SweepCounts,
    best_threshold,
    merge_sweep_counts,
    sweep_counts,
)
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.pipeline.image_batches import ShardedBatches, stack_images
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.run_folder import (
    ThresholdChoice,
    ground_truth_of,
    load_threshold,
    write_threshold,
)
from luss_mm.work_dir.stop_request import stop_if_asked

CERTAIN_QUANTILES = (0.4, 0.9)  # of the training scores: surely background, surely object


@dataclass(frozen=True)
class ThresholdRule:
    """How the threshold is chosen.

    Attributes:
        rule: 'otsu', a number in [0, 1], or 'validation_sweep'.
        sweep_batches: Whole validation images with masks; the sweep alone reads them.
        certain_quantiles: Of the training scores, see `certain_scores`.
    """

    rule: str | float
    sweep_batches: ShardedBatches | None = None
    certain_quantiles: tuple[float, float] = CERTAIN_QUANTILES

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        is_number = isinstance(self.rule, (int, float)) and 0 <= self.rule <= 1
        if not is_number and self.rule not in ('otsu', 'validation_sweep'):
            raise ValueError(
                "foreground_threshold: 'otsu', 'validation_sweep' or a number in [0, 1], not "
                f'{self.rule!r}'
            )
        quantiles = tuple(self.certain_quantiles)
        if len(quantiles) != 2 or not 0 <= quantiles[0] <= quantiles[1] <= 1:
            raise ValueError(
                f'certain_quantiles: two rising shares in [0, 1], not {self.certain_quantiles!r}'
            )


def choose_threshold(
    directory: str | Path,
    rule: ThresholdRule,
    model: AttendedInference,
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
    used = ground_truth_of(rule.rule)

    def make(unfinished: Path) -> None:
        mean_iou = None
        if rule.rule == 'validation_sweep':
            threshold, scores = best_threshold(_sweep(rule.sweep_batches, model, centroids, device))
            mean_iou = tuple(scores.tolist())
        elif rule.rule == 'otsu':
            threshold = otsu_threshold(score_counts)
        else:
            threshold = float(rule.rule)
        certain = certain_scores(score_counts, rule.certain_quantiles, threshold)
        if is_main_process():
            write_threshold(unfinished, ThresholdChoice(rule.rule, threshold, certain, mean_iou))

    settings = dict(rule=rule.rule, certain_quantiles=list(rule.certain_quantiles))
    choice = load_threshold(produce(directory, make, inputs, settings, used_ground_truth=used))
    labels = used[0] if used else 'no labels looked at'
    print_log(
        f'foreground threshold {choice.threshold:.3f} ({rule.rule}; {labels})', logger='current'
    )
    return choice


@torch.inference_mode()
def _sweep(
    batches: ShardedBatches,
    model: AttendedInference,
    centroids: np.ndarray,
    device: torch.device | str,
) -> SweepCounts:
    """Counts of all thresholds over all validation images, in one pass. Looks at the masks."""
    model.eval().to(device)
    dataset = batches.dataset
    num_categories = len(dataset.metainfo['classes']) - 1
    centroids_on_device = torch.from_numpy(centroids).to(device)
    shards = []
    for _, shard_batches in batches.iterate(set(), 'threshold sweep'):
        counts = []
        for batch in shard_batches:
            images = model.data_preprocessor.normalize(stack_images(batch, device))
            features, scores = model.score_pixels(images)
            for i, sample in enumerate(batch):
                size = tuple(sample['ori_shape'])
                labels = label_by_centroid(
                    features[i : i + 1], centroids_on_device, size, model.upsample
                )[0]
                score = resize_score(scores[i : i + 1], size)[0]
                counts.append(
                    sweep_counts(
                        score.cpu().numpy(),
                        labels.cpu().numpy(),
                        _mask_of(sample),
                        len(centroids),
                        num_categories,
                        ignore_index=dataset.ignore_index,
                    )
                )
        shards.append(merge_sweep_counts(counts))
        stop_if_asked('the threshold sweep starts again, its clusters are kept')
    return merge_sweep_counts([part for rank in all_gather_object(shards) for part in rank])


def _mask_of(sample: Mapping[str, Any]) -> np.ndarray:
    if 'gt_seg_map' not in sample:
        raise ValueError('the images of the validation sweep need LoadLabelMap before PackImage')
    return np.asarray(sample['gt_seg_map'])
