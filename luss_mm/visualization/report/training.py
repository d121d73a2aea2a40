"""What the stages did: times and manifests, losses, and the choice of the foreground threshold."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from luss_mm.functional.score_histograms import between_class_variance
from luss_mm.pipeline.image_counts import judge_run
from luss_mm.terminal import format_duration
from luss_mm.visualization.curves import Chart, curve_chart, histogram_chart
from luss_mm.visualization.report.images import PictureFolder
from luss_mm.visualization.run_pictures import read_losses
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

DATA = {'train_dataloader': 'training images', 'val_dataloader': 'validation images'}
FIGURES = {
    'mIoU': 'mean IoU over all classes, "others" included',
    'b-mIoU': 'mean IoU of the boundary bands',
    'ImgAcc': 'images whose largest predicted category is in the mask',
    'F-beta': 'foreground against background',
}


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
        run: Of a recipe.
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
