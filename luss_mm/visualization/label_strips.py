"""Label maps beside their image."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from luss_mm.visualization.overlays import blend_labels, picture_strip, save_picture


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
