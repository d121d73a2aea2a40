"""What a selection left out, for looking whether it was right."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luss_mm.visualization.contact_sheet import contact_sheet
from luss_mm.visualization.overlays import save_picture


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
