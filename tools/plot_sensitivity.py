"""How much PDSO's parameters matter: pseudo-label quality over their values, as plots.

    python tools/plot_sensitivity.py sigma WORK_DIR --values .1 .2 .4 --split train-semi
    python tools/plot_sensitivity.py keep_fraction WORK_DIR --values .4 .665 .9 1 --split train-semi
    python tools/plot_sensitivity.py small_loss WORK_DIR ANOTHER ... --split train-semi

The first two vary one parameter of a finished PDSO run; the last compares finished runs with other
rules of `small_loss`. Each writes <parameter>.json and .png into WORK_DIR/sensitivity. Clusters of
the training images are compared with their folders, label maps with the masks of the split: this
looks at labels, which no stage of the run does.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import luss_mm  # noqa: F401  registers everything
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.evaluation.label_quality import evaluate_labels
from luss_mm.functional.clustering_scores import clustering_accuracy, contingency
from luss_mm.inference.label_steps import LabelStep, find_label_steps
from luss_mm.pipeline.clusters import DenoisingRules, denoise_clusters
from luss_mm.pipeline.step import steps_of
from luss_mm.recipes.config_file import read_own_config
from luss_mm.visualization.curves import plot_curves
from luss_mm.work_dir.atomic_files import write_atomically
from luss_mm.work_dir.manifest import read_manifest
from luss_mm.work_dir.run_folder import (
    LAST_STAGE,
    RunFolder,
    load_clusters,
    load_features,
    read_outcomes,
)

import numpy as np
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS


@one_line_stops()
def main() -> None:
    """Measure and plot one parameter."""
    arguments = parse_arguments()
    init_default_scope('mmseg')
    measure = dict(sigma=vary_sigma, keep_fraction=vary_keep_fraction, small_loss=compare_rules)
    out = arguments.work_dirs[0] / 'sensitivity'
    rows = measure[arguments.parameter](arguments, out / arguments.parameter)
    report = dict(split=arguments.split, rows=rows, looks_at='training folders, masks of the split')
    write_atomically(
        out / f'{arguments.parameter}.json', json.dumps(report, indent=2, default=float).encode()
    )
    x = [row['value'] for row in rows]
    series = {key: (x, [row[key] for row in rows]) for key in rows[0] if key not in LABELS}
    title = f'{arguments.work_dirs[0].name}: {arguments.parameter}'
    plot_curves(
        series, title, X_LABELS[arguments.parameter], '%', out / f'{arguments.parameter}.png'
    )
    for row in rows:
        print(json.dumps(row, default=float))
    print(out / f'{arguments.parameter}.png')


LABELS = ('value', 'rule')
X_LABELS = dict(
    sigma='sigma (bound on the squared distance)',
    keep_fraction='kept fraction of the images',
    small_loss='share of images that g is trained on',
)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('parameter', choices=X_LABELS)
    parser.add_argument('work_dirs', type=Path, nargs='+', metavar='WORK_DIR')
    parser.add_argument('--values', type=float, nargs='+', default=[])
    parser.add_argument('--split', default='train-semi')
    parser.add_argument('--workers', type=int, default=2, help='processes that score')
    arguments = parser.parse_args()
    if arguments.parameter != 'small_loss' and not arguments.values:
        parser.error(f'{arguments.parameter} needs --values')
    return arguments


def vary_sigma(arguments: argparse.Namespace, out: Path) -> list[dict]:
    """Quality of the labels after SPO."""
    step = find_step(arguments.work_dirs[0], 'SPO')
    rows = []
    for value in arguments.values:
        transform = dict(step.label_transform, sigma=value)
        folder = out / f'{value:g}'
        quality = label_quality(replace(step, label_transform=transform), arguments, folder)
        outcomes = read_outcomes(folder / 'labels')
        several = 100 * outcomes['images with several active categories'] / outcomes['images']
        rows.append(dict(value=value, **quality) | {'images with several categories': several})
    return rows


def vary_keep_fraction(arguments: argparse.Namespace, out: Path) -> list[dict]:
    """Accuracy of the clusters after CSD and quality of the labels before SPO."""
    work_dir = arguments.work_dirs[0]
    step = find_step(work_dir, 'CSD')
    names = [other.name for other in find_label_steps(work_dir)]
    before = find_step(work_dir, names[names.index('CSD') - 1])
    config = read_own_config(RunFolder(work_dir).stage(LAST_STAGE).config)
    (csd,) = (found for found in steps_of(config) if found.name == 'denoised')
    rows = []
    for value in arguments.values:
        folder = out / f'{value:g}'
        clusters = denoise_clusters(
            folder / 'clusters',
            load_features(step.features).embeddings,
            load_clusters(before.clusters),
            DenoisingRules(**csd.rules | dict(keep_fraction=value, limit=None)),
            csd.num_clusters,
            inputs=dict(clusters=read_manifest(before.clusters)['key']),
            kmeans=csd.kmeans,
        )
        quality = label_quality(replace(step, clusters=folder / 'clusters'), arguments, folder)
        accuracy = folder_accuracy(step, clusters.assignment)
        rows.append({'value': value, 'cluster accuracy (train)': accuracy, **quality})
    return rows


def compare_rules(arguments: argparse.Namespace, out: Path) -> list[dict]:
    """Accuracy of the clusters of h's features, and quality of the labels from them."""
    rows = []
    for work_dir in arguments.work_dirs:
        step = find_step(work_dir, 'DFF')
        run = RunFolder(work_dir)
        counts = run.stage('dff_g').selected_counts()
        rows.append(
            {
                'value': sum(counts['kept']) / sum(counts['total']),
                'rule': run.settings['small_loss'],
                'cluster accuracy (train)': folder_accuracy(
                    step, load_clusters(step.clusters).assignment
                ),
                **label_quality(step, arguments, out / work_dir.name),
            }
        )
    return sorted(rows, key=lambda row: row['value'])


def find_step(work_dir: Path, name: str) -> LabelStep:
    """The step of this name."""
    steps = {step.name: step for step in find_label_steps(work_dir)}
    if name not in steps:
        raise ValueError(f'{work_dir}: was run without {name}. Name another run.')
    return steps[name]


def label_quality(step: LabelStep, arguments: argparse.Namespace, out: Path) -> dict[str, float]:
    """Mean IoU and coverage of the split's labels, in percent."""
    quality = evaluate_labels(
        step.label_split(arguments.split, out),
        step.masks_of(arguments.split),
        step.num_clusters,
        step.ignore_index,
        arguments.workers,
    )
    return {
        'pseudo-label mIoU': quality.figures['mIoU'],
        'pseudo-label b-mIoU': quality.figures['mBIoU'],
        'coverage': quality.figures['coverage'],
    }


def folder_accuracy(step: LabelStep, assignment: np.ndarray) -> float:
    """Accuracy of the training images' clusters against their folders, in percent."""
    dataset = DATASETS.build(dict(step.source.dataset, pipeline=[]))
    folders = [dataset.relative_path(i).rpartition('/')[0] for i in range(len(dataset))]
    names, categories = np.unique(folders, return_inverse=True)
    counts = contingency(assignment, categories, int(assignment.max()) + 1, len(names))
    return 100 * float(clustering_accuracy(counts))


if __name__ == '__main__':
    main()
