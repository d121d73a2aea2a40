"""The ImageNet-S evaluation step by step, as it is published: what ours is measured against.

One erosion chain a class and image, pixels selected and counted for each figure, ids as floating
point. Slow on purpose; `tools/benchmarks/evaluation.py` times it and compares the figures.
"""

import math
from collections.abc import Sequence

from luss_mm.evaluation.folders import LabelMapPair

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

IGNORED = 1000
SIZE_LIMITS = (5, 25, 50, 100)


def evaluate_pairs(
    pairs: Sequence[LabelMapPair], match: dict[int, int], num_categories: int
) -> dict[str, Tensor | float]:
    """Sums over images, from which `figures_of_sums` makes the figures.

    Args:
        pairs: Label map files.
        match: Category id of each generated id.
        num_categories: K.

    Returns:
        `areas`: TP, prediction and truth, float64, shape (2, 5, 3, K + 1) over (whole or band, all
        pixels or a size); `f_beta`, `hits` and `images`.
    """
    areas = torch.zeros(2, 5, 3, num_categories + 1, dtype=torch.float64)
    f_beta = hits = 0.0
    for pair in pairs:
        predicted, truth, predicted_band, true_band = load_pair(pair, match)
        selections = {0: torch.ones_like(truth, dtype=torch.bool)} | select_sizes(truth)
        for index, selected in selections.items():
            areas[0, index] += class_areas(predicted[selected], truth[selected], num_categories + 1)
            band = class_areas(predicted_band[selected], true_band[selected], num_categories + 2)
            areas[1, index] += band[:, 1:]
        _, output, target = class_areas(predicted, truth, num_categories + 1)
        dominant = torch.argmax(output[1:]) + 1
        hits += float((target[dominant] > 0) & (output[dominant] > 0))
        f_beta += f_measure(predicted > 0, truth > 0)
    return dict(areas=areas, f_beta=f_beta, hits=hits, images=len(pairs))


def figures_of_sums(sums: dict[str, Tensor | float]) -> dict[str, float | None]:
    """The twelve figures in percent, and `IoUs` and `BIoUs`."""
    positive, output, target = sums['areas'].unbind(dim=2)  # (2, 5, K + 1)
    iou = 100 * positive / (output + target - positive + 1e-10)
    figures = {
        'Acc': 100 * sums['hits'] / sums['images'],
        'mIoU': iou[0, 0].mean().item(),
        'mBIoU': iou[1, 0].mean().item(),
        'FMeasure': 100 * sums['f_beta'] / sums['images'],
    }
    for kind, start in enumerate(['', 'B']):
        for index, name in enumerate(['S', 'MS', 'ML', 'L'], start=1):
            there = target[kind, index] > 0
            mean = iou[kind, index][there].mean().item() if there.any() else None
            figures[start + name] = mean
    return figures | {'IoUs': iou[0, 0].tolist(), 'BIoUs': iou[1, 0].tolist()}


def load_pair(pair: LabelMapPair, match: dict[int, int]) -> tuple[Tensor, ...]:
    """Matched ids and bands (id + 1, 0 outside) of the pixels that are not ignored."""
    truth, predicted = read_ids(pair.mask), read_ids(pair.prediction)
    maps = [predicted, truth, class_bands(predicted), class_bands(truth)]
    predicted, truth, predicted_band, true_band = (
        torch.from_numpy(ids.astype(np.float64)).view(-1) for ids in maps
    )
    known = truth != IGNORED
    predicted, truth = predicted[known], truth[known]
    predicted_band, true_band = predicted_band[known], true_band[known]
    matched, matched_band = torch.zeros_like(predicted), torch.zeros_like(predicted_band)
    for cluster in torch.unique(predicted).tolist():
        matched[predicted == cluster] = match[int(cluster)]
        matched_band[predicted_band == cluster + 1] = match[int(cluster)] + 1
    return matched, truth, matched_band, true_band


def read_ids(path: str) -> np.ndarray:
    """Ids R + 256 G of a label map."""
    rgb = np.array(Image.open(path)).astype(np.int64)
    return rgb[:, :, 1] * 256 + rgb[:, :, 0]


def class_bands(labels: np.ndarray) -> np.ndarray:
    """Id + 1 inside of its class's band, 0 elsewhere: every class's mask minus its erosion."""
    height, width = labels.shape
    radius = max(1, int(round(0.03 * math.sqrt(height**2 + width**2))))
    bands = np.zeros_like(labels)
    for label in np.unique(labels):
        mask = (labels == label).astype(np.uint8)
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=radius)
        bands += (mask - eroded[1:-1, 1:-1]).astype(np.int64) * (label + 1)
    return bands


def class_areas(predicted: Tensor, truth: Tensor, num_ids: int) -> Tensor:
    """Pixels of each id in both, in the prediction and in the truth. Shape (3, num_ids)."""
    parts = predicted[predicted == truth], predicted, truth
    limits = dict(bins=num_ids, min=0, max=num_ids - 1)
    return torch.stack([torch.histc(part, **limits) for part in parts])


def select_sizes(truth: Tensor) -> dict[int, Tensor]:
    """Pixels that count for a size, keyed 1 to 4, for the sizes that the image has."""
    members: dict[int, list[int]] = {}
    for category in torch.unique(truth).long().tolist():
        if category > 0:
            percent = math.ceil(100 * int((truth == category).sum()) / len(truth))
            size = next(i for i, limit in enumerate(SIZE_LIMITS, 1) if percent <= limit)
            members.setdefault(size, []).append(category)
    selections = {}
    for size, categories in members.items():
        selections[size] = truth == 0
        for category in categories:
            selections[size] |= truth == category
    return selections


def f_measure(predicted: Tensor, truth: Tensor) -> float:
    """F-beta of the foreground."""
    both = float((predicted & truth).sum())
    recall = both / (float(truth.sum()) + 1e-20)
    precision = both / (float(predicted.sum()) + 1e-20)
    return 1.3 * precision * recall / (0.3 * precision + recall + 1e-20)


def presence_by_pairs(
    predicted: Sequence[Sequence[int]], true: Sequence[Sequence[int]], num_ids: int
) -> np.ndarray:
    """Images in which cluster and category (from 1) occur together, pair by pair. (K, K)."""
    ids = range(1, num_ids + 1)
    with_cluster = [np.array([i in image for image in predicted]) for i in ids]
    with_category = [np.array([i in image for image in true]) for i in ids]
    return np.array(
        [[np.logical_and(one, other).sum() for other in with_category] for one in with_cluster]
    )
