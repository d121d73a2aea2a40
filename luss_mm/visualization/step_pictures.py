"""Pictures of what the steps between trainings left, and what becomes of a run when they fail."""

import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from luss_mm.visualization.contact_sheets import contact_sheet
from luss_mm.visualization.curves import ABOVE, BELOW, new_figure, save_figure
from luss_mm.visualization.overlays import blend_labels, picture_strip, save_picture
from luss_mm.work_dir.stop_request import stop_asked


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


def save_dropped_sheets(
    directory: Path,
    image_paths: Sequence[str | Path],
    assignment: np.ndarray,
    kept: np.ndarray,
    quality: np.ndarray,
    rule: str,
    images_per_cluster: int = 24,
) -> None:
    """One contact sheet a cluster with the images that it lost, worst first.

    A cluster that lost none has no sheet.

    Args:
        directory: Gets `cluster-<generated id>.jpg`.
        image_paths: Of all images, in the order of the assignment; only those shown are read.
        assignment: Cluster from 0 of each image. Shape (N,).
        kept: Whether an image was kept, bool. Shape (N,).
        quality: Higher is better, see `sample_quality`. Shape (N,).
        rule: What the quality is: `margin`, or the negated `ratio` or `distance`.
        images_per_cluster: Shown at most.
    """
    dropped = np.flatnonzero(~kept)
    by_cluster = dropped[np.lexsort((quality[dropped], assignment[dropped]))]  # worst of each first
    sizes = np.bincount(assignment)
    starts = np.searchsorted(assignment[by_cluster], np.arange(len(sizes) + 1))
    for cluster, size in enumerate(sizes):
        members = by_cluster[starts[cluster] : starts[cluster + 1]]
        shown = members[:images_per_cluster]
        if not shown.size:
            continue
        sheet = contact_sheet(
            [image_paths[i] for i in shown],
            captions=[f'{rule} {abs(quality[i]):.3f}' for i in shown],
            title=f'cluster {cluster + 1}: {len(members)} of {size} images dropped, worst first',
        )
        save_picture(directory / f'cluster-{cluster + 1:03d}.jpg', sheet)


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


def save_label_strip(
    path: str | Path,
    image_rgb: np.ndarray,
    label_maps: Mapping[str, np.ndarray],
    palette: np.ndarray,
    ignore_index: int = 1000,
) -> None:
    """Write an image and its label maps in a row.

    Args:
        path: Of the picture; .png keeps it without loss.
        image_rgb: RGB uint8. Shape (H, W, 3).
        label_maps: Titles to ids, integer. Shape (H, W) each.
        palette: RGB colours of the ids, uint8. Shape (num_ids, 3).
        ignore_index: Pixels of this id are hatched.
    """
    panels = [('image', image_rgb)]
    for title, labels in label_maps.items():
        panels.append((title, blend_labels(image_rgb, labels, palette, ignore_index=ignore_index)))
    save_picture(path, picture_strip(panels))
