"""Scores and predictions as tables and as files that are there whole or not at all."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

import numpy as np
from prettytable import PrettyTable
from torch import Tensor

from luss_mm.datasets.image_walk import label_map_name, sharing_in
from luss_mm.datasets.mask_files import save_label_map
from luss_mm.evaluation.cluster_matching import ClusterMatching
from luss_mm.evaluation.segmentation_counts import MatchedScores
from luss_mm.work_dir.run_folder import EvaluationFolder


def scores_in_percent(scores: MatchedScores) -> dict[str, float | None]:
    """The twelve figures in percent with 2 decimals; None for a size bucket without instances.

    mIoU, b-mIoU, ImgAcc and F-beta are the mIoU, mBIoU, Acc and FMeasure of `official_figures`.
    Without background F-beta is None, and aAcc is the share of right pixels.
    """
    figures = official_figures(scores)
    ours = {'mIoU': 'mIoU', 'mBIoU': 'b-mIoU', 'Acc': 'ImgAcc', 'FMeasure': 'F-beta'}
    shown = {name: figures.pop(official) for official, name in ours.items()} | figures
    if scores.pixel_accuracy is not None:
        shown['aAcc'] = _percent(scores.pixel_accuracy)
    return {name: _rounded(value) for name, value in shown.items()}


def official_figures(scores: MatchedScores) -> dict[str, float | None]:
    """The twelve figures in percent under the names of the ImageNet-S evaluation toolbox.

    A size bucket without an instance is None.
    """
    sizes = {name: _percent(share) for name, share in scores.size_iou.items()}
    bands = {f'B{name}': _percent(share) for name, share in scores.size_boundary_iou.items()}
    return {
        'Acc': _percent(scores.image_accuracy),
        'mIoU': _percent(_mean_of_known(scores.iou)),
        'mBIoU': _percent(_mean_of_known(scores.boundary_iou)),
        'FMeasure': _percent(scores.f_beta),
        **sizes,
        **bands,
    }


def scores_per_class(scores: MatchedScores, names: Sequence[str] | None) -> list[dict]:
    """One row a class: id, name, the generated ids matched to it, IoU and b-IoU in percent.

    Args:
        scores: Scores of all classes.
        names: Names of all classes; None names classes by their ids. A class that occurs nowhere
            has no IoU where there is no background, see `MatchedScores`.
    """
    return [
        {
            'id': index,
            'name': str(name),
            'clusters': np.flatnonzero(scores.mapping == index).tolist(),
            'IoU': _rounded(_percent(scores.iou[index])),
            'b-IoU': _rounded(_percent(scores.boundary_iou[index])),
        }
        for index, name in enumerate(names or range(len(scores.iou)))
    ]


def class_table(rows: list[dict]) -> str:
    """The rows of `scores_per_class` as a text table."""
    table = PrettyTable(['Class', 'Clusters', 'IoU', 'b-IoU'])
    for row in rows:
        clusters = ' '.join(map(str, row['clusters']))
        table.add_row([row['name'], clusters, row['IoU'], row['b-IoU']])
    return table.get_string()


def figure_table(figures: dict[str, float | None]) -> str:
    """Figures in percent as a text table of one row; a dash where there is none."""
    table = PrettyTable(list(figures))
    table.add_row(['-' if value is None else f'{value:.2f}' for value in figures.values()])
    return table.get_string()


def matching_record(scores: MatchedScores, matching: ClusterMatching) -> dict[str, object]:
    """How clusters became categories, for a report.

    Returns:
        The rule's name and words, the clusters without a category and whether masks decided.
    """
    use = 'to match clusters and to score' if matching.looks_at_masks else 'to score'
    unmatched = np.flatnonzero(scores.mapping == len(scores.iou))
    return {
        'matching': matching.name,
        'matching_rule': matching.description,
        'unmatched_clusters': unmatched.tolist(),
        'used_ground_truth': True,
        'ground_truth_use': f'the masks of these images, {use}',
    }


def write_scores(
    directory: Path,
    scores: MatchedScores,
    matching: ClusterMatching,
    rows: list[dict],
    settings: dict[str, object],
) -> None:
    """Write the match and the scores, see `EvaluationFolder`.

    Args:
        directory: Made if it is missing.
        scores: What was measured.
        matching: How.
        rows: Rows from `scores_per_class`.
        settings: Settings of the metric, copied into the report.
    """
    report = {
        **scores_in_percent(scores),
        'size_classes': scores.size_classes,
        'num_images': scores.num_images,
        **settings,
        **matching_record(scores, matching),
        'per_class': rows,
    }
    EvaluationFolder(directory).write(scores.mapping, report)


def write_prediction(directory: Path, image_path: Path, labels: Tensor) -> None:
    """Write a label map in the ImageNet-S coding to `<directory>/<image folder>/<image name>.png`.

    The name is that of `label_map_name`.

    Args:
        directory: Root of the predictions.
        image_path: Path of the image; its last folder and its name are kept.
        labels: Generated ids in [0, 65535], integer. Shape (H, W).
    """
    name = label_map_name(image_path.name, sharing_in(image_path.parent))
    save_label_map(directory / image_path.parent.name / name, labels.cpu().numpy())


def _mean_of_known(iou: Tensor) -> Tensor:
    return iou[~iou.isnan()].mean()


def _percent(share: float | Tensor | None) -> float | None:
    return None if share is None or isnan(share) else 100 * float(share)


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 2)
