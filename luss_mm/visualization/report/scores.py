"""What a run left in numbers: stages, losses, thresholds, labels, and what the scores are of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luss_mm.functional.label_codec import category_palette
from luss_mm.functional.score_histograms import between_class_variance
from luss_mm.pipeline.image_counts import (
    has_image_counts,
    judge_run,
    rank_images,
    read_image_counts,
)
from luss_mm.terminal import format_duration
from luss_mm.visualization.report.images import PictureFolder, shown_images, shown_path
from luss_mm.visualization.run_pictures import (
    STRIPS,
    Chart,
    curve_chart,
    histogram_chart,
    read_losses,
    strip_index,
)
from luss_mm.work_dir.run_folder import (
    PSEUDO_LABELS,
    TRAINING_CHECK,
    VALIDATION_CHECK,
    MissingPartError,
    RunFolder,
    ThresholdChoice,
    load_score_counts,
    load_threshold,
    read_json,
    read_outcomes,
)

NO_MATCHING = ('none', 'given')  # rules that look at no mask
SIZE_TEXTS = {'S': 'up to 5 %', 'MS': '5 to 25 %', 'ML': '25 to 50 %', 'L': 'over 50 %'}
SHOWN_CONFUSIONS = 20  # of each kind
SHOWN = 12  # of the best and of the worst images
UNSCORED = dict(iou=None, truth=(), predicted=())
UNMATCHED = 'no category'
DATA = {'train_dataloader': 'training images', 'val_dataloader': 'validation images'}
FIGURES = {
    'mIoU': 'mean IoU over all classes, "others" included',
    'b-mIoU': 'mean IoU of the boundary bands',
    'ImgAcc': 'images whose largest predicted category is in the mask',
    'F-beta': 'foreground against background',
}


@dataclass(frozen=True)
class PairCounts:
    """Sums over the scored images, by generated id (rows) and category id (columns).

    Attributes:
        pixels: Pixels of each pair, int64. Shape (G + 1, C + 1).
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
        names: Names of the categories 0 .. C + 1, the last for what was not matched.
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
        run: Run of a recipe.
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


def summarise(run: RunFolder) -> dict[str, Any]:
    """The score, how it was measured, and what was looked at."""
    manifests = run.manifests.values()
    try:
        scores = run.evaluation.scores()
    except MissingPartError:
        scores = None
    stages = [row for row in stage_rows(run) if row['is_stage']]
    return dict(
        figures=[(name, scores[name], text) for name, text in FIGURES.items()] if scores else [],
        scores=scores,
        labels=run.labels_used,
        used_sam=run.used_sam,
        seconds=format_duration(sum(row['seconds'] for row in stages)),
        stages=[row['name'] for row in stages],
        data_root=str(run.data_root) if run.settings.get('data_root') else 'not recorded',
        seed=run.settings.get('seed', 'not recorded'),
        versions=list(manifests)[-1].get('versions', {}),
        finished=list(manifests)[-1]['finished'],
    )


def stage_rows(run: RunFolder) -> list[dict[str, Any]]:
    """All finished outputs in the order of their finishing, but each stage before its parts.

    Returns:
        Of each output its folder (`name`), whether it is a stage (`is_stage`) or was made `within`
        one, `seconds` that making it took, without earlier attempts, and the same in words
        (`duration`), when it was `finished`, names of its inputs (`made_from`), what `labels` were
        looked at, whether SAM took part, and its `manifest` as text.
    """
    rows, parts = [], []
    for name, manifest in run.manifests.items():
        is_stage = run.is_stage(name)
        row = dict(
            name=name,
            is_stage=is_stage,
            within=not is_stage and name not in (TRAINING_CHECK, VALIDATION_CHECK),
            seconds=manifest['seconds'],
            duration=format_duration(manifest['seconds']),
            finished=manifest['finished'],
            made_from=[_source_name(*source) for source in manifest['inputs'].items()],
            labels=manifest['used_ground_truth'],
            used_sam=manifest['used_sam'],
            manifest=json.dumps(manifest, indent=1),
        )
        if row['within']:
            parts.append(row)
        elif is_stage:
            rows += [row, *parts]
            parts = []
        else:
            rows.append(row)
    return rows + parts


def _source_name(name: str, source: Any) -> str:
    """In words; an image check names what it looked at by its fingerprint and describes it."""
    if isinstance(source, Mapping) and 'images' in source:
        folders = source['images'].get('data_prefix', {}).get('img_path', 'images')
        return folders if isinstance(folders, str) else ', '.join(folders)
    return DATA.get(name, name)


def loss_charts(run: RunFolder) -> list[Chart]:
    """One chart a training stage.

    Raises:
        MissingPartError: If no stage left its scalars.
    """
    charts = []
    for stage in run.trainings:
        found = read_losses(run.path / stage)
        series = {
            name: points
            for name, points in found.items()
            # the only part of a loss is the loss
            if np.isfinite(points[1]).any() and (name == 'loss' or points != found['loss'])
        }
        if series:
            charts.append(curve_chart(series, stage, 'iteration', 'loss'))
    if not charts:
        raise MissingPartError('No stage left losses (<stage>/*/vis_data/scalars.json).')
    return charts


def threshold_choice(run: RunFolder) -> dict[str, Any]:
    """The foreground threshold with its rule, the `histogram` of the scores, and the `curve`.

    The curve is that whose maximum was chosen, or None.
    """
    choice = load_threshold(run.threshold)
    counts = load_score_counts(run.path / run.source_of(PSEUDO_LABELS, 'features'))
    value = choice.threshold
    centres = (np.arange(len(counts)) + 0.5) / len(counts)
    return dict(
        rule=str(choice.rule),
        value=value,
        share_above=float(counts[centres >= value].sum() / max(counts.sum(), 1)),
        histogram=histogram_chart(
            counts, value, 'Scores of the training pixels', 'foreground score'
        ),
        curve=_criterion(choice, counts),
    )


def _criterion(choice: ThresholdChoice, counts: np.ndarray) -> Chart | None:
    """What the rule maximised; a fixed number maximised nothing."""
    axis, marker = 'threshold of the foreground score', choice.threshold
    if choice.mean_iou is not None:
        scores = 100 * np.array(choice.mean_iou)
        steps = np.arange(len(scores)) / 100  # SWEEP_THRESHOLDS
        series = {'mean IoU': (steps, scores)}
        return curve_chart(series, 'Mean IoU on the masks', axis, 'mIoU in %', marker)
    if choice.rule == 'otsu':
        variance = between_class_variance(counts)
        edges = np.arange(1, len(counts)) / len(counts)
        series = {'variance': (edges, variance / max(variance.max(), 1e-12))}
        title = "Otsu's criterion: variance between the two sides"
        return curve_chart(series, title, axis, 'share of the maximum', marker)
    return None


def label_steps(run: RunFolder, pictures: PictureFolder) -> dict[str, Any]:
    """Label quality of every step, as `tools/evaluate_pseudo_labels.py` measured it.

    Args:
        run: Run of a recipe.
        pictures: Gets the chart of each split.

    Raises:
        MissingPartError: If nobody measured it.
    """
    reports = run.qualities()
    if not reports:
        raise MissingPartError(
            'Nobody measured it: python tools/evaluate_pseudo_labels.py WORK_DIR does, and looks '
            'at masks.'
        )
    splits = [read_json(folder.report) for folder in reports]
    for number, (folder, split) in enumerate(zip(reports, splits, strict=True)):
        chart = folder.chart  # the report of an earlier version has none
        text = f'mIoU of {split["split"]} from step to step'
        split['chart'] = (
            pictures.add_file(f'steps-{number}', chart, text) if chart.is_file() else None
        )
        split['names'] = list(next(iter(split['steps'].values())))
    return dict(splits=splits)


def label_outcomes(run: RunFolder) -> dict[str, Any]:
    """What became of the categories and images when label maps were made, and what that means."""
    return dict(
        counts=read_outcomes(run.pseudo_labels),
        health=judge_run(run.path, run.last),
    )
