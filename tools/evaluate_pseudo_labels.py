"""Quality of a run's pseudo-labels after each step, on a split with masks.

    python tools/evaluate_pseudo_labels.py WORK_DIR [--split validation]

Labels the split as the training images would have been labelled after k-means, DFF, CSD and SPO (as
far as the run has them), matches clusters to categories on that split, and writes a table
(quality.json) and pictures (one strip an image: the steps, then the mask) into
WORK_DIR/label_quality/<split>. Looks at the masks of the split, which no stage of the run does.
"""

import argparse
import json
from pathlib import Path

import luss_mm  # noqa: F401  registers everything
from luss_mm.atomic_files import write_atomically
from luss_mm.datasets.transforms.loading import read_label_map
from luss_mm.engine.label_steps import LabelStep, find_label_steps
from luss_mm.engine.stops import one_line_stops
from luss_mm.evaluation.label_quality import LabelQuality, evaluate_labels
from luss_mm.functional.palette import category_palette
from luss_mm.visualization.overlays import blend_labels, picture_strip, save_picture
from luss_mm.visualization.run_pictures import read_rgb

import numpy as np
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from prettytable import PrettyTable

NOTE = 'masks of this split: matching and scoring of pseudo-labels; the run did not see them'


@one_line_stops()
def main() -> None:
    """Label, score, print a table and draw."""
    arguments = parse_arguments()
    init_default_scope('mmseg')
    out = arguments.work_dir / 'label_quality' / arguments.split
    steps = find_label_steps(arguments.work_dir)
    masks = steps[0].masks_of(arguments.split)
    labels = [step.label_split(arguments.split, out / step.name) for step in steps]
    qualities = [
        evaluate_labels(folder, masks, step.num_clusters, step.ignore_index, arguments.workers)
        for folder, step in zip(labels, steps, strict=True)
    ]
    figures = {s.name: q.figures for s, q in zip(steps, qualities, strict=True)}
    report = dict(
        split=arguments.split,
        steps=figures,
        used_ground_truth=NOTE,
        used_sam={step.name: step.used_sam for step in steps},
    )
    write_atomically(out / 'quality.json', json.dumps(report, indent=2).encode())
    print(table(figures))
    draw(out / 'pictures', arguments, steps, labels, qualities, masks)
    if any(step.used_sam for step in steps):
        print('SAM, which human masks trained, took part in SPO')
    print(f'{NOTE}\npictures: {out / "pictures"}')


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('--split', default='validation')
    parser.add_argument('--workers', type=int, default=2, help='processes that score')
    parser.add_argument('--pictures', type=int, default=24, help='images drawn')
    return parser.parse_args()


def table(figures: dict[str, dict[str, float]]) -> PrettyTable:
    """A row a step."""
    rows = PrettyTable(['step', *next(iter(figures.values()))])
    for step, values in figures.items():
        rows.add_row([step, *(f'{value:.2f}' for value in values.values())])
    return rows


def draw(
    directory: Path,
    arguments: argparse.Namespace,
    steps: list[LabelStep],
    labels: list[Path],
    qualities: list[LabelQuality],
    masks: Path,
) -> None:
    """One strip an image, of images evenly spread over the split."""
    dataset = DATASETS.build(
        dict(steps[0].label_dataset, data_prefix=dict(img_path=arguments.split), pipeline=[])
    )
    palette = category_palette(len(qualities[0].category_of) + 1)
    chosen = np.linspace(0, len(dataset) - 1, min(arguments.pictures, len(dataset))).astype(int)
    for index in np.unique(chosen):
        image = read_rgb(dataset.get_data_info(int(index))['img_path'])
        name = Path(dataset.relative_path(int(index))).with_suffix('.png')
        panels = [('image', image)]
        for step, folder, quality in zip(steps, labels, qualities, strict=True):
            categories = np.array(quality.category_of)[read_label_map(folder / name)]
            panels.append((step.name, blend_labels(image, categories, palette)))
        panels.append(('mask', blend_labels(image, read_label_map(masks / name), palette)))
        save_picture(directory / f'{index:06d}.jpg', picture_strip(panels))


if __name__ == '__main__':
    main()
