"""Which images a training was given, in a form that people and tools can read."""

import json
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process

from luss_mm.datasets import ClassLabelDataset
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.atomic_files import write_atomically


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
        lines = ''.join(f'{dataset.relative_path(i)}\n' for i in range(len(dataset)))
        write_atomically(unfinished / 'images.txt', lines.encode())
        counts = dict(total=total.tolist(), kept=kept.tolist())
        write_atomically(unfinished / 'counts.json', json.dumps(counts).encode())

    inputs = dict(images=dataset.fingerprint())
    return produce(directory, make, inputs, dict(small_loss=dataset.small_loss))
