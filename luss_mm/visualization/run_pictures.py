"""The pictures of a run: what clusters hold and lost, losses, thresholds, and if drawing fails."""

import json
import logging
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from luss_mm.datasets.image_file import read_image
from luss_mm.visualization.curves import (
    ABOVE,
    BELOW,
    draw_curves,
    draw_histogram,
    new_figure,
    save_figure,
)
from luss_mm.visualization.pictures import contact_sheet, save_picture
from luss_mm.work_dir.stop_request import stop_asked

STRIPS = 'strips'  # folder of images as all models see them
LONGEST_NAME = 40


def cluster_members(
    assignment: np.ndarray, values: np.ndarray, num_clusters: int
) -> list[np.ndarray]:
    """Images of each cluster, those of the lowest value first.

    Args:
        assignment: Cluster from 0 of each image; -1 for those that are left out. Shape (N,).
        values: Of each image. Shape (N,).
        num_clusters: K.
    """
    order = np.lexsort((values, assignment))
    starts = np.searchsorted(assignment[order], np.arange(num_clusters + 1))
    return [order[start:end] for start, end in pairwise(starts)]


def save_cluster_sheets(
    directory: Path,
    image_paths: Sequence[str | Path],
    assignment: np.ndarray,
    values: np.ndarray,
    num_clusters: int,
    value: str = 'd2',
    kept: np.ndarray | None = None,
    images_per_cluster: int = 24,
) -> None:
    """One contact sheet a cluster with the images nearest to its centroid, or that it lost.

    Args:
        directory: Gets `cluster-<generated id>.jpg`.
        image_paths: Of all images, in the order of the assignment; only those shown are read.
        assignment: Cluster from 0 of each image. Shape (N,).
        values: Squared distances to the centroid, or qualities; the lowest come first. Shape (N,).
        num_clusters: K.
        value: What the values are, below each image.
        kept: Whether an image was kept, bool: the others are shown, and a cluster that lost none
            has no sheet. None shows all. Shape (N,).
        images_per_cluster: Shown at most.
    """
    chosen = assignment if kept is None else np.where(kept, -1, assignment)
    sizes = np.bincount(assignment, minlength=num_clusters)
    for cluster, members in enumerate(cluster_members(chosen, values, num_clusters)):
        if kept is not None and not members.size:
            continue
        told = 'images, nearest' if kept is None else f'of {sizes[cluster]} images dropped, worst'
        shown = members[:images_per_cluster]
        sheet = contact_sheet(
            [image_paths[i] for i in shown],
            captions=[f'{value} {abs(values[i]):.3f}' for i in shown],
            title=f'cluster {cluster + 1}: {len(members)} {told} first',
        )
        save_picture(directory / f'cluster-{cluster + 1:03d}.jpg', sheet)


def strip_name(index: int, image: str | Path) -> str:
    """File name of an image's strip: index in the data set, and the beginning of its own name."""
    name = re.sub(r'[^\w.-]', '_', Path(image).stem)
    return f'{index:06d}_{name[:LONGEST_NAME]}.jpg'


def strip_index(path: str | Path) -> int:
    """Index in the data set of the image that a strip shows, see `strip_name`."""
    return int(Path(path).name.partition('_')[0])


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
        title = f'{stage_directory.name}: losses'
        save_figure(draw_curves(series, title, 'iteration', 'loss'), path)


def save_threshold_histogram(score_counts: np.ndarray, threshold: float, path: Path) -> None:
    """Histogram of the training foreground scores with the chosen threshold."""
    edges = np.linspace(0, 1, len(score_counts) + 1)
    title = 'Foreground score of the training pixels'
    save_figure(draw_histogram(score_counts, edges, threshold, title, 'foreground score'), path)


def read_rgb(path: str | Path, stored_pixels: bool = False) -> np.ndarray:
    """Image for display, RGB uint8 (H, W, 3), see `read_image`."""
    return read_image(path, stored_pixels)[..., ::-1].copy()


def plot_retained(total: np.ndarray, kept: np.ndarray, title: str, path: str | Path) -> None:
    """Draw a bar a category, the largest first: retained below, dropped above.

    Args:
        total: Images before the selection, int (K,).
        kept: Images after it, int (K,).
        title: Above the picture.
        path: Picture to write.
    """
    order = np.argsort(-total, kind='stable')
    figure, axes = new_figure(title, 'categories, largest first', 'images')
    positions = np.arange(len(total))
    axes.bar(positions, kept[order], color=ABOVE, width=0.8, label='retained')
    dropped = (total - kept)[order]
    axes.bar(positions, dropped, bottom=kept[order], color=BELOW, width=0.8, label='dropped')
    axes.legend()
    save_figure(figure, path)


@contextmanager
def decoration(name: str) -> Iterator[None]:
    """Log what goes wrong inside as one warning instead of stopping the run.

    Args:
        name: Of what is drawn or written.
    """
    try:
        yield
    except Exception as error:
        if stop_asked():  # the signal ended it
            raise
        print_log(
            f'{name}: failed ({type(error).__name__}: {error}), which changes no result\n'
            f'{traceback.format_exc()}',
            'current',
            logging.WARNING,
        )
