"""What the scores are made of: matching, classes, object sizes and confusions."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from luss_mm.functional.label_codec import category_palette
from luss_mm.pipeline.image_counts import has_image_counts, read_image_counts
from luss_mm.work_dir.run_folder import MissingPartError, RunFolder

NO_MATCHING = ('none', 'given')  # rules that look at no mask
SIZE_TEXTS = {'S': 'up to 5 %', 'MS': '5 to 25 %', 'ML': '25 to 50 %', 'L': 'over 50 %'}
SHOWN_CONFUSIONS = 20  # of each kind
UNMATCHED = 'no category'


@dataclass(frozen=True)
class PairCounts:
    """Sums over the scored images, by generated id (rows) and category id (columns).

    Attributes:
        pixels: Of each pair, int64. Shape (G + 1, C + 1).
        images: That hold both, int64. Shape (G + 1, C + 1).
        cluster_images: Whose prediction holds the id, int64. Shape (G + 1,).
    """

    pixels: np.ndarray
    images: np.ndarray
    cluster_images: np.ndarray


class ScoredRun(NamedTuple):
    """The last stage's evaluation.

    Attributes:
        scores: Content of scores.json.
        category_of: Category id of each generated id, C + 1 for unmatched. Shape (G + 1,).
        names: Of the categories 0 .. C + 1, the last for what was not matched.
        counts: None if the evaluation left no image counts.
    """

    scores: dict[str, Any]
    category_of: np.ndarray
    names: list[str]
    counts: PairCounts | None


class MatchRow(NamedTuple):
    """One cluster and the two categories that it shares most with.

    Attributes:
        cluster: Generated id.
        category: Its name.
        images: Images whose prediction holds the cluster.
        shared: Images, or pixels, that the cluster shares with its category.
        runner_up: Best other category, or None.
        runner_up_shared: What it shares with that.
        compromise: Whether the runner-up shares more.
    """

    cluster: int
    category: str
    images: int
    shared: int
    runner_up: str | None
    runner_up_shared: int
    compromise: bool


class Confusion(NamedTuple):
    """Pixels of one class that were predicted as another.

    Attributes:
        kind: 'category', 'missed' (as others) or 'false' (others as a category).
        truth: Name of the true class.
        predicted: Name of the predicted class.
        pixels: Number.
        share: Of the true class's pixels.
    """

    kind: str
    truth: str
    predicted: str
    pixels: int
    share: float


def read_evaluation(run: RunFolder) -> ScoredRun:
    """The evaluation of the last stage.

    Raises:
        MissingPartError: If nothing was scored.
    """
    try:
        scores = run.evaluation.scores()
    except MissingPartError as error:
        raise MissingPartError('Nothing was scored: the run had no masks.') from error
    if scores.get('background', 0) is None:
        raise MissingPartError('Scored without a background class: see evaluation/.')
    category_of = run.evaluation.mapping()
    names = [row['name'] for row in scores['per_class']] + [UNMATCHED]
    counts = None
    if has_image_counts(run.evaluation.path):
        counts = sum_image_counts(run, len(category_of), scores['num_categories'] + 1)
    return ScoredRun(scores, category_of, names, counts)


def sum_image_counts(run: RunFolder, num_clusters: int, num_categories: int) -> PairCounts:
    """Add up the image counts, one image at a time.

    Args:
        run: With image counts.
        num_clusters: G + 1.
        num_categories: C + 1.
    """
    pixels = np.zeros((num_clusters, num_categories), np.int64)
    images = np.zeros_like(pixels)
    cluster_images = np.zeros(num_clusters, np.int64)
    for counts in read_image_counts(run.evaluation.path):
        pairs = np.ix_(counts.clusters, counts.categories)  # no id occurs twice
        pixels[pairs] += counts.pixels
        images[pairs] += 1
        cluster_images[counts.clusters] += 1
    return PairCounts(pixels, images, cluster_images)


def class_rows(evaluation: ScoredRun) -> list[dict[str, Any]]:
    """Rows of the scores, each with the colour that pictures give the class."""
    rows = evaluation.scores['per_class']
    palette = category_palette(len(rows))
    return [dict(row, colour='#{:02x}{:02x}{:02x}'.format(*palette[row['id']])) for row in rows]


def match_rows(evaluation: ScoredRun) -> list[MatchRow]:
    """One row a cluster.

    Raises:
        MissingPartError: If nothing was matched or the counts are not there.
    """
    scores, counts = evaluation.scores, evaluation.counts
    if scores['matching'] in NO_MATCHING:
        raise MissingPartError(f'Nothing was matched: {scores["matching_rule"]}.')
    shared = needed_counts(counts).images
    if scores['matching'] != 'image_hungarian':
        shared = counts.pixels
    rows = []
    for cluster, category in enumerate(evaluation.category_of[1:], start=1):
        found = shared[cluster].copy()
        found[0] = -1  # "others" is no candidate
        own = int(found[category]) if category < len(found) else 0
        if category < len(found):
            found[category] = -1
        second = int(found.argmax())
        has_second = found[second] > 0
        rows.append(
            MatchRow(
                cluster,
                evaluation.names[category],
                int(counts.cluster_images[cluster]),
                own,
                evaluation.names[second] if has_second else None,
                int(found[second]) if has_second else 0,
                bool(has_second and found[second] > own),
            )
        )
    return rows


def size_rows(evaluation: ScoredRun) -> list[dict[str, Any]]:
    """IoUs by object size; sizes without an object have none."""
    scores = evaluation.scores
    return [
        dict(
            name=name,
            text=SIZE_TEXTS[name],
            classes=scores['size_classes'][name],
            iou=scores[name],
            boundary_iou=scores[f'B{name}'],
        )
        for name in SIZE_TEXTS
    ]


def top_confusions(evaluation: ScoredRun) -> list[Confusion]:
    """The largest confusions after matching, of each kind at most `SHOWN_CONFUSIONS`.

    Raises:
        MissingPartError: If the counts are not there.
    """
    pixels = needed_counts(evaluation.counts).pixels
    renamed = np.zeros((pixels.shape[1] + 1, pixels.shape[1]), np.int64)  # (C + 2, C + 1)
    np.add.at(renamed, evaluation.category_of, pixels)
    totals = renamed.sum(axis=0)
    np.fill_diagonal(renamed, 0)
    parts = dict(
        category=(slice(1, None), slice(1, None)),
        missed=(slice(0, 1), slice(1, None)),
        false=(slice(1, None), slice(0, 1)),
    )
    found = []
    for kind, part in parts.items():
        chosen = np.zeros_like(renamed)
        chosen[part] = renamed[part]
        for flat in np.argsort(-chosen, axis=None, kind='stable')[:SHOWN_CONFUSIONS]:
            predicted, truth = np.unravel_index(flat, chosen.shape)
            if amount := int(chosen[predicted, truth]):
                names = evaluation.names[truth], evaluation.names[predicted]
                found.append(Confusion(kind, *names, amount, amount / totals[truth]))
    return found


def needed_counts(counts: PairCounts | None) -> PairCounts:
    """The counts, if they are there.

    Raises:
        MissingPartError: If not; it says how to get them.
    """
    if counts is None:
        raise MissingPartError(
            'The evaluation left no image counts (it is older than they are): python tools/test.py '
            'STAGE/config.py STAGE/final.pth --work-dir STAGE writes them.'
        )
    return counts
