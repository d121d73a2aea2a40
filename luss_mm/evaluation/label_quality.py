"""How good pseudo-labels are, where masks exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luss_mm.datasets.mask_files import read_label_map
from luss_mm.evaluation.cluster_matching import MatchingByRule, category_ids
from luss_mm.evaluation.folders import FolderCounter, LabelMapPair, count_folders, list_pairs
from luss_mm.evaluation.score_report import official_figures
from luss_mm.functional.label_health import (
    foreground_overlap,
    with_true_categories,
    with_true_foreground,
)

TRUE_FOREGROUND = 'mIoU, true foreground'
TRUE_CATEGORIES = 'mIoU, true categories'


@dataclass(frozen=True)
class LabelQuality:
    """Scores of a folder of pseudo-labels in percent, and the match behind them.

    Attributes:
        figures: mIoU, mBIoU, Acc and FMeasure as the official toolbox computes them; `coverage`,
            the share of category pixels with any label; `labelled`, the share of all pixels.
        category_of: Category id of every generated id from 0; K + 1 where none was matched.
    """

    figures: dict[str, float]
    category_of: list[int]


def evaluate_labels(
    labels: str | Path, masks: str | Path, num_categories: int, ignore_index: int, workers: int
) -> LabelQuality:
    """Score label maps with clusters matched to categories on these images.

    Args:
        labels: Folder of label maps, `<relative path>.png`.
        masks: Folder of masks of the same names.
        num_categories: K, of clusters and of categories.
        ignore_index: Mask id of pixels that count nowhere.
        workers: Processes.

    Raises:
        ValueError: If a label map is missing or does not fit its mask.
    """
    pairs, _ = list_pairs(Path(labels), Path(masks), None)
    matching = MatchingByRule('image_hungarian', num_categories, num_categories)
    counter = FolderCounter(num_categories, num_categories, matching, ignore_index=ignore_index)
    counts, _ = count_folders(counter, pairs, workers)
    scores = matching.scores(counts)
    figures = official_figures(scores)
    chosen = {name: figures[name] for name in ('mIoU', 'mBIoU', 'Acc', 'FMeasure')}
    pixels = counts.joint[0].double()  # (K + 1, K + 1)
    chosen['coverage'] = 100 * (pixels[1:, 1:].sum() / pixels[:, 1:].sum()).item()
    chosen['labelled'] = 100 * (pixels[1:].sum() / pixels.sum()).item()
    return LabelQuality(chosen, list(scores.mapping))


@dataclass(frozen=True, kw_only=True)
class TrueForegroundCounter(FolderCounter):
    """Counts label maps as if their foreground were that of the masks.

    Args:
        categories: Folder of the maps of `with_true_foreground`, named as the label maps.
        labels: Folder of the label maps.
    """

    categories: Path
    labels: Path

    def read(self, pair: LabelMapPair) -> tuple[np.ndarray, np.ndarray]:
        """Label map with the foreground of the mask, and the mask."""
        labels, truth = super().read(pair)
        categories = read_label_map(self.categories / pair.prediction.relative_to(self.labels))
        return with_true_foreground(labels, categories, truth, self.ignore_index), truth


class TrueCategoriesCounter(FolderCounter):
    """Counts label maps as if the category of each foreground pixel were right."""

    def read(self, pair: LabelMapPair) -> tuple[np.ndarray, np.ndarray]:
        """Label map with the categories of the mask, and the mask."""
        labels, truth = super().read(pair)
        return with_true_categories(labels, truth, self.ignore_index), truth


def where_lost(
    labels: str | Path,
    categories: str | Path,
    masks: str | Path,
    num_categories: int,
    ignore_index: int,
    workers: int,
) -> dict[str, float]:
    """Scores with either half of the label maps made perfect, and how much foreground there is.

    Args:
        labels: Folder of label maps, `<relative path>.png`.
        categories: Folder of maps of the same names, with the category that each pixel would have
            if it were foreground.
        masks: Folder of masks of the same names.
        num_categories: K, of clusters and of categories.
        ignore_index: Mask id of pixels that count nowhere.
        workers: Processes.

    Returns:
        In percent: mIoU with true foreground (clusters matched afresh), mIoU with true categories
        (nothing to match), foreground IoU (mean over the images with any foreground in label map or
        mask), images without foreground, images without background, and the median share of
        foreground pixels.

    Raises:
        ValueError: If a map is missing or does not fit its mask.
    """
    labels, categories = Path(labels), Path(categories)
    list_pairs(categories, Path(masks))  # names and sizes fit
    pairs, _ = list_pairs(labels, Path(masks))
    sizes = num_categories, num_categories
    matched = MatchingByRule('image_hungarian', *sizes)
    counter = TrueForegroundCounter(
        *sizes, matched, ignore_index=ignore_index, categories=categories, labels=labels
    )
    true_foreground = matched.scores(count_folders(counter, pairs, workers)[0])
    same = category_ids(num_categories)
    counter = TrueCategoriesCounter(*sizes, same, ignore_index=ignore_index)
    true_categories = same.scores(count_folders(counter, pairs, workers)[0])
    return {
        TRUE_FOREGROUND: 100 * true_foreground.iou.mean().item(),
        TRUE_CATEGORIES: 100 * true_categories.iou.mean().item(),
        **_foreground_figures(pairs, ignore_index),
    }


def _foreground_figures(pairs: Sequence[LabelMapPair], ignore_index: int) -> dict[str, float]:
    shares, overlaps = [], []
    for pair in pairs:
        label_map = read_label_map(pair.prediction)
        shares.append((label_map > 0).mean())
        overlaps.append(foreground_overlap(label_map, read_label_map(pair.mask), ignore_index))
    shares = np.array(shares)  # (N,)
    return {
        'foreground IoU': 100 * float(np.nanmean(overlaps)),
        'no foreground': 100 * float((shares == 0).mean()),
        'no background': 100 * float((shares == 1).mean()),
        'median foreground': 100 * float(np.median(shares)),
    }
