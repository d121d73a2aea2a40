"""What the scores are made of: matching, classes, object sizes, confusions and images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luss_mm.functional.label_codec import category_palette
from luss_mm.pipeline.image_counts import has_image_counts, rank_images, read_image_counts
from luss_mm.visualization.report.images import PictureFolder, shown_images, shown_path
from luss_mm.visualization.run_pictures import STRIPS, strip_index
from luss_mm.work_dir.run_folder import MissingPartError, RunFolder

NO_MATCHING = ('none', 'given')  # rules that look at no mask
SIZE_TEXTS = {'S': 'up to 5 %', 'MS': '5 to 25 %', 'ML': '25 to 50 %', 'L': 'over 50 %'}
SHOWN_CONFUSIONS = 20  # of each kind
SHOWN = 12  # of the best and of the worst images
UNSCORED = dict(iou=None, truth=(), predicted=())
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


def match_rows(evaluation: ScoredRun) -> list[dict[str, Any]]:
    """One row a cluster.

    Returns:
        Of each `cluster` its `category`, in how many `images` it was predicted, the images (or
        pixels) `shared` with the category, the best other category (`runner_up`, or None),
        `runner_up_shared` with that, and whether that is more (`compromise`).

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
            dict(
                cluster=cluster,
                category=evaluation.names[category],
                images=int(counts.cluster_images[cluster]),
                shared=own,
                runner_up=evaluation.names[second] if has_second else None,
                runner_up_shared=int(found[second]) if has_second else 0,
                compromise=bool(has_second and found[second] > own),
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


def top_confusions(evaluation: ScoredRun) -> list[dict[str, Any]]:
    """The largest confusions after matching, of each kind at most `SHOWN_CONFUSIONS`.

    Returns:
        Of each its `kind`: 'category', 'missed' (as others) or 'false' (others as a category);
        names of the classes `truth` and `predicted`; `pixels` and their `share` of the true class.

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
                names = dict(truth=evaluation.names[truth], predicted=evaluation.names[predicted])
                row = dict(kind=kind, **names, pixels=amount, share=amount / totals[truth])
                found.append(row)
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


def strips(
    run: RunFolder, evaluation: ScoredRun | None, pictures: PictureFolder
) -> list[dict[str, Any]]:
    """The strips that the run drew, the best first, then the worst, then the others.

    Args:
        run: Of a recipe.
        evaluation: None if nothing was scored.
        pictures: Gets the strips.

    Returns:
        Of each image its `kind`: 'best', 'worst' or 'all'; its folder and file as `name`; the
        `picture`; the mean foreground `iou` in percent, or None; names of the categories in the
        mask (`truth`) and in the matched prediction (`predicted`).

    Raises:
        MissingPartError: If the run drew none.
    """
    files = sorted((run.pictures / STRIPS).glob('*.jpg'))
    if not files:
        raise MissingPartError(
            'The run drew no images. For predictions of any images: '
            'python tools/infer.py WORK_DIR PHOTOS --out DIR'
        )
    names = _image_of_file(run, files)
    kinds, facts = {}, {}
    if evaluation is not None and has_image_counts(run.evaluation.path):
        ranking = rank_images(run.evaluation.path)
        number = min(SHOWN, len(ranking) // 2)
        kinds |= {image: 'worst' for _, image in ranking[:number]}
        kinds |= {image: 'best' for _, image in ranking[len(ranking) - number :]}
        facts = _facts(run, evaluation, dict((image, iou) for iou, image in ranking), names)
    drawn = []
    for file in files:
        image = names.get(file, '')
        title = shown_path(image) if image else file.stem
        picture = pictures.add_file(f'strip-{file.stem}', file, f'{title} as all models see it')
        shown = dict(kind=kinds.get(image, 'all'), name=title, picture=picture)
        drawn.append(UNSCORED | shown | facts.get(image, {}))
    order = {'best': (0, -1), 'worst': (1, 1), 'all': (2, 0)}

    def place(strip: dict[str, Any]) -> tuple:
        number, sign = order[strip['kind']]
        return number, sign * (strip['iou'] or 0), strip['name']

    return sorted(drawn, key=place)


def _image_of_file(run: RunFolder, files: list[Path]) -> dict[Path, str]:
    """Path of the image that a strip shows, while the images are there."""
    try:
        images = shown_images(run)
    except MissingPartError:
        return {}
    indices = {file: strip_index(file) for file in files}
    return {file: str(images[index]) for file, index in indices.items() if index < len(images)}


def _facts(
    run: RunFolder, evaluation: ScoredRun, iou_of: dict[str, float], names: dict[Path, str]
) -> dict[str, dict]:
    """IoU and categories of the images that are shown."""
    shown, facts = set(names.values()), {}
    for counts in read_image_counts(run.evaluation.path):
        if counts.image in shown:
            predicted = np.unique(evaluation.category_of[counts.clusters])
            iou = iou_of.get(counts.image)
            facts[counts.image] = dict(
                iou=None if iou is None else 100 * iou,
                truth=tuple(evaluation.names[c] for c in counts.categories if c > 0),
                predicted=tuple(evaluation.names[c] for c in predicted if c > 0),
            )
    return facts
