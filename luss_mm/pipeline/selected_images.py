"""Which images a training was given, in a form that people and tools can read."""

from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process

from luss_mm.datasets import ClassLabelDataset
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.run_folder import write_selected


def write_selection(
    directory: str | Path, dataset: ClassLabelDataset, total: np.ndarray, kept: np.ndarray
) -> Path:
    """Write the relative paths of the selected images and the counts of each category.

    Args:
        directory: Gets `images.txt`, a path a line in the order of the data set, and `counts.json`
            with the lists `total` and `kept`.
        dataset: The selected images.
        total: Images of each category before the selection, int (K,).
        kept: Images of each category after it, int (K,).

    Returns:
        The directory.
    """

    def make(unfinished: Path) -> None:
        if not is_main_process():
            return
        images = (dataset.relative_path(i) for i in range(len(dataset)))
        write_selected(unfinished, images, total.tolist(), kept.tolist())

    inputs = dict(images=dataset.fingerprint())
    return produce(directory, make, inputs, dict(small_loss=dataset.small_loss))
