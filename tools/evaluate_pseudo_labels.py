"""Where a run loses its score: its label maps after each step, on a split with masks.

    python tools/evaluate_pseudo_labels.py WORK_DIR [--split validation]

Labels the split as the training images would have been labelled after k-means, DFF, CSD and SPO (as
far as the run has them), predicts it with the fine-tuned network, and matches clusters to
categories on that split. Besides the scores it tells what they would be with a perfect foreground
(the category that each pixel would have, where the mask has an object) and with perfect categories
(the foreground that was found, each pixel in the category of the nearest object of the mask).

Writes a table (quality.json), a chart of it (steps.png) and pictures (one strip an image: the
steps, then the mask) into WORK_DIR/label_quality/<split>; `python tools/report.py WORK_DIR` puts
table and chart into the report. Looks at the masks and the category folders of the split, which no
stage of the run does for this.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Union

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

from prettytable import PrettyTable

if TYPE_CHECKING:
    from luss_mm.evaluation.label_quality import LabelQuality
    from luss_mm.inference.label_steps import LabelStep, PredictionStep

Step = Union['LabelStep', 'PredictionStep']
NOTE = (
    'masks of this split: matching, scoring and perfect halves of label maps; category folders of '
    'this split: cluster accuracy; the run did not see them for this'
)


@one_line_stops()
def main() -> None:
    """Label, score, print a table and draw."""
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('--split', default='validation')
    parser.add_argument('--workers', type=int, default=2, help='processes that score')
    parser.add_argument('--pictures', type=int, default=24, help='images drawn')
    arguments = parser.parse_args()

    from luss_mm.evaluation.label_quality import evaluate_labels
    from luss_mm.inference.label_steps import find_label_steps, find_prediction_step
    from luss_mm.work_dir.atomic_files import write_atomically
    from luss_mm.work_dir.run_folder import RunFolder

    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    quality_folder = RunFolder(arguments.work_dir).quality(arguments.split)
    out = quality_folder.path
    pseudo_labels = find_label_steps(arguments.work_dir)
    masks = pseudo_labels[0].masks_of(arguments.split)
    steps = [*pseudo_labels, find_prediction_step(arguments.work_dir)]
    labels = [step.label_split(arguments.split, out / step.name) for step in steps]
    qualities = [
        evaluate_labels(folder, masks, step.num_clusters, step.ignore_index, arguments.workers)
        for folder, step in zip(labels, steps, strict=True)
    ]
    figures = {
        step.name: all_figures(step, arguments, out / step.name, folder, masks, quality)
        for step, folder, quality in zip(steps, labels, qualities, strict=True)
    }
    report = dict(
        split=arguments.split,
        steps=figures,
        used_ground_truth=NOTE,
        used_sam={step.name: step.used_sam for step in steps},
    )
    write_atomically(quality_folder.report, json.dumps(report, indent=2).encode())
    draw_chart(figures, arguments.split, quality_folder.chart)
    print(table(figures))
    draw(quality_folder.pictures, arguments, steps, labels, qualities, masks)
    if any(step.used_sam for step in steps):
        print('SAM, which human masks trained, took part in SPO')
    print(f'{NOTE}\nchart: {quality_folder.chart}\npictures: {quality_folder.pictures}')


def all_figures(
    step: Step,
    arguments: argparse.Namespace,
    out: Path,
    labels: Path,
    masks: Path,
    quality: 'LabelQuality',
) -> dict[str, float | None]:
    """A row of the table, in percent; cluster accuracy is None where there are no clusters."""
    from luss_mm.evaluation.label_quality import where_lost

    accuracy = step.cluster_accuracy(arguments.split, out)
    scores = dict(quality.figures)
    first = {name: scores.pop(name) for name in ('Acc', 'mIoU')}
    lost = where_lost(
        labels,
        step.categories_of_split(arguments.split, out),
        masks,
        step.num_clusters,
        step.ignore_index,
        arguments.workers,
    )
    return {
        'cluster accuracy': None if accuracy is None else 100 * accuracy,
        **first,
        **lost,
        **scores,
    }


def table(figures: dict[str, dict[str, float | None]]) -> PrettyTable:
    """A row for each step."""
    rows = PrettyTable(['step', *next(iter(figures.values()))])
    for step, values in figures.items():
        shown = ('-' if value is None else f'{value:.2f}' for value in values.values())
        rows.add_row([step, *shown])
    return rows


def draw_chart(figures: dict[str, dict[str, float | None]], split: str, path: Path) -> None:
    """How mIoU, and mIoU with either half perfect, go from step to step."""
    from luss_mm.evaluation.label_quality import TRUE_CATEGORIES, TRUE_FOREGROUND
    from luss_mm.visualization.run_pictures import draw_curves, save_figure

    names = list(figures)
    series = {
        name: (names, [values[name] for values in figures.values()])
        for name in ('mIoU', TRUE_FOREGROUND, TRUE_CATEGORIES)
    }
    title = f'Label maps of {split} after each step'
    save_figure(draw_curves(series, title, 'step', '%'), path)


def draw(
    directory: Path,
    arguments: argparse.Namespace,
    steps: list[Step],
    labels: list[Path],
    qualities: list['LabelQuality'],
    masks: Path,
) -> None:
    """One strip an image, of images evenly spread over the split."""
    from luss_mm.datasets.mask_files import read_label_map
    from luss_mm.datasets.transforms.loading import keeps_stored_pixels
    from luss_mm.functional.label_codec import category_palette
    from luss_mm.visualization.pictures import blend_labels, picture_strip, save_picture
    from luss_mm.visualization.run_pictures import read_rgb

    import numpy as np
    from mmseg.registry import DATASETS

    dataset = DATASETS.build(
        dict(steps[0].label_dataset, data_prefix=dict(img_path=arguments.split))
    )
    stored_pixels = keeps_stored_pixels(dataset.pipeline)
    palette = category_palette(len(qualities[0].category_of) + 1)
    chosen = np.linspace(0, len(dataset) - 1, min(arguments.pictures, len(dataset))).astype(int)
    for index in np.unique(chosen):
        image = read_rgb(dataset.get_data_info(int(index))['img_path'], stored_pixels)
        name = Path(dataset.relative_path(int(index))).with_suffix('.png')
        panels = [('image', image)]
        for step, folder, quality in zip(steps, labels, qualities, strict=True):
            categories = np.array(quality.category_of)[read_label_map(folder / name)]
            panels.append((step.name, blend_labels(image, categories, palette)))
        mask = read_label_map(masks / name)
        ignored = steps[0].ignore_index
        panels.append(('mask', blend_labels(image, mask, palette, ignore_index=ignored)))
        save_picture(directory / f'{index:06d}.jpg', picture_strip(panels))


if __name__ == '__main__':
    main()
