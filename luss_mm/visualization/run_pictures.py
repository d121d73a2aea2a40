"""The pictures of a finished run: what the clusters hold and what the models see."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luss_mm.datasets.image_file import read_image
from luss_mm.visualization.contact_sheets import contact_sheet
from luss_mm.visualization.curves import plot_curves, plot_histogram
from luss_mm.visualization.overlays import (
    blend_labels,
    picture_strip,
    save_picture,
    score_heatmap,
)

STRIPS = 'strips'  # folder of images as all models see them
LONGEST_NAME = 40


@dataclass(frozen=True)
class SegmentedImage:
    """One image as all models see it.

    Attributes:
        image: RGB uint8 (H, W, 3).
        score: Foreground score, float (H, W).
        pseudo_label: Generated ids before fine-tuning, renamed to category ids (H, W).
        prediction: Of the fine-tuned model, renamed to category ids (H, W).
        coarse_label: Pseudo-label before prompts and masks, or None if there were none (H, W).
        truth: Category ids, or None without masks (H, W).
    """

    image: np.ndarray
    score: np.ndarray
    pseudo_label: np.ndarray
    prediction: np.ndarray
    coarse_label: np.ndarray | None = None
    truth: np.ndarray | None = None


def save_cluster_sheets(
    directory: Path,
    image_paths: Sequence[str | Path],
    assignment: np.ndarray,
    squared_distances: np.ndarray,
    num_clusters: int,
    images_per_cluster: int = 24,
) -> None:
    """One contact sheet a cluster with the images nearest to its centroid.

    Args:
        directory: Gets `cluster-<generated id>.jpg`.
        image_paths: Of all images, in the order of the assignment; only those shown are read.
        assignment: Cluster from 0 of each image. Shape (N,).
        squared_distances: Of each image to its centroid. Shape (N,).
        num_clusters: K.
        images_per_cluster: Shown.
    """
    by_cluster = np.lexsort((squared_distances, assignment))
    starts = np.searchsorted(assignment[by_cluster], np.arange(num_clusters + 1))
    for cluster in range(num_clusters):
        members = by_cluster[starts[cluster] : starts[cluster + 1]]
        shown = members[:images_per_cluster]
        sheet = contact_sheet(
            [image_paths[i] for i in shown],
            captions=[f'd2 {squared_distances[i]:.3f}' for i in shown],
            title=f'cluster {cluster + 1}: {len(members)} images, nearest first',
        )
        save_picture(directory / f'cluster-{cluster + 1:03d}.jpg', sheet)


def strip_name(index: int, image: str | Path) -> str:
    """File name of an image's strip: index in the data set, and the beginning of its own name."""
    name = re.sub(r'[^\w.-]', '_', Path(image).stem)
    return f'{index:06d}_{name[:LONGEST_NAME]}.jpg'


def strip_index(path: str | Path) -> int:
    """Index in the data set of the image that a strip shows, see `strip_name`."""
    return int(Path(path).name.partition('_')[0])


def save_strip(
    path: Path, segmented: SegmentedImage, palette: np.ndarray, ignore_index: int = 1000
) -> None:
    """Image, foreground score, coarse and final pseudo-label, prediction and truth in a row."""
    image = segmented.image
    panels = [
        ('image', image),
        ('foreground score', score_heatmap(segmented.score, image)),
    ]
    if segmented.coarse_label is not None:
        panels.append(('coarse label', blend_labels(image, segmented.coarse_label, palette)))
    panels += [
        ('pseudo-label', blend_labels(image, segmented.pseudo_label, palette)),
        ('prediction', blend_labels(image, segmented.prediction, palette)),
    ]
    if segmented.truth is not None:
        truth = blend_labels(image, segmented.truth, palette, ignore_index=ignore_index)
        panels.append(('truth', truth))
    save_picture(path, picture_strip(panels))


def read_losses(stage_directory: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Losses of one stage over its iterations, from mmengine's scalar files.

    A resumed stage has several; of an iteration that was repeated the last record counts. A last
    line that is not whole is what a kill leaves, and does not count.

    Returns:
        Name -> (iterations, values), sorted by name; empty without any loss.

    Raises:
        ValueError: If another line is damaged.
    """
    records: dict[int, dict[str, float]] = {}
    for file in sorted(stage_directory.glob('*/vis_data/scalars.json')):
        for record in _read_records(file):
            if 'loss' in record:
                records[record.get('iter', record['step'])] = record
    names = sorted({name for record in records.values() for name in record if 'loss' in name})
    series = {}
    for name in names:
        points = [(step, r[name]) for step, r in sorted(records.items()) if name in r]
        series[name] = tuple(map(list, zip(*points, strict=True)))
    return series


def _read_records(file: Path) -> Iterator[dict[str, float]]:
    lines = file.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            if number < len(lines):
                raise ValueError(
                    f'{file}, line {number}: damaged ({error}). Delete the line; it is a log.'
                ) from error


def save_loss_curves(stage_directory: Path, path: Path) -> None:
    """Draw the losses of one stage, if it has any."""
    if series := read_losses(stage_directory):
        plot_curves(series, f'{stage_directory.name}: losses', 'iteration', 'loss', path)


def save_threshold_histogram(score_counts: np.ndarray, threshold: float, path: Path) -> None:
    """Histogram of the training foreground scores with the chosen threshold."""
    edges = np.linspace(0, 1, len(score_counts) + 1)
    plot_histogram(score_counts, edges, threshold, path)


def read_rgb(path: str | Path, stored_pixels: bool = False) -> np.ndarray:
    """Image for display, RGB uint8 (H, W, 3), see `read_image`."""
    return read_image(path, stored_pixels)[..., ::-1].copy()
