"""How good pseudo-labels are, where masks exist."""

from dataclasses import dataclass
from pathlib import Path

from luss_mm.evaluation.cluster_matching import MatchingByRule
from luss_mm.evaluation.label_map_pairs import list_pairs
from luss_mm.evaluation.score_folders import FolderCounter, count_folders
from luss_mm.evaluation.score_report import official_figures


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
