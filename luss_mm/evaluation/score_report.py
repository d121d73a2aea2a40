"""Scores and predictions as a table and as files that are there whole or not at all."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import get_dist_info
from prettytable import PrettyTable
from torch import Tensor

from luss_mm.evaluation.segmentation_counts import MatchedScores
from luss_mm.functional.label_codec import encode_label_map
from luss_mm.functional.matching import MATCHING_RULE


def scores_in_percent(scores: MatchedScores) -> dict[str, float]:
    """The four figures of a segmentation, in percent with 2 decimals."""
    return {
        'mIoU': _percent(scores.iou.mean()),
        'b-mIoU': _percent(scores.boundary_iou.mean()),
        'ImgAcc': _percent(scores.image_accuracy),
        'F-beta': _percent(scores.f_beta),
    }


def scores_per_class(scores: MatchedScores, names: Sequence[str] | None) -> list[dict]:
    """One row a class: id, name, the generated ids matched to it, IoU and b-IoU in percent.

    Args:
        scores: Of C + 1 classes.
        names: C + 1 class names; None names classes by their ids.
    """
    return [
        {
            'id': index,
            'name': str(name),
            'clusters': np.flatnonzero(scores.mapping == index).tolist(),
            'IoU': _percent(scores.iou[index]),
            'b-IoU': _percent(scores.boundary_iou[index]),
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


def write_scores(
    directory: Path, scores: MatchedScores, rows: list[dict], settings: dict[str, object]
) -> None:
    """Write match.json (generated id to category id) and scores.json.

    Args:
        directory: Made if it is missing.
        scores: What was measured.
        rows: Of `scores_per_class`.
        settings: Of the metric, copied into scores.json.
    """
    mapping = {str(cluster): int(category) for cluster, category in enumerate(scores.mapping)}
    report = {
        **scores_in_percent(scores),
        'num_images': scores.num_images,
        **settings,
        'matching_rule': MATCHING_RULE,
        'used_ground_truth': True,
        'ground_truth_use': 'the masks of these images, to match clusters and to score',
        'per_class': rows,
    }
    _replace_file(directory / 'match.json', json.dumps(mapping, indent=1).encode())
    _replace_file(directory / 'scores.json', json.dumps(report, indent=1).encode())


def write_prediction(directory: Path, image_path: Path, labels: Tensor) -> None:
    """Write a label map in the ImageNet-S coding to `<directory>/<image folder>/<image name>.png`.

    Args:
        directory: Root of the predictions.
        image_path: Of the image; its last folder and its name are kept.
        labels: Generated ids in [0, 65535], integer. Shape (H, W).
    """
    coded = encode_label_map(labels.cpu().numpy())
    png = cv2.imencode('.png', coded[..., ::-1])[1]  # OpenCV takes BGR
    _replace_file(directory / image_path.parent.name / f'{image_path.stem}.png', png.tobytes())


def _percent(share: float | Tensor) -> float:
    return round(100 * float(share), 2)


def _replace_file(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rank, _ = get_dist_info()
    temporary = path.with_name(f'.{path.name}.{rank}.tmp')  # ranks may write the same name at once
    temporary.write_bytes(content)
    os.replace(temporary, path)
