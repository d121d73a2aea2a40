"""Images with the cluster that they were assigned to, or those of them with a small loss."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.registry import DATASETS

from luss_mm.datasets.image_entries import ImageEntries
from luss_mm.datasets.luss_dataset import LUSSDataset
from luss_mm.functional.sample_selection import select_small_losses


@DATASETS.register_module()
class ClassLabelDataset(LUSSDataset):
    """A `LUSSDataset` whose samples carry a class label that some earlier step made.

    Args:
        class_labels: `.npy` file with the label of every image of the folders, int (N,). It is
            read at the first sample, so that a hook may write it when training begins.
        losses: `.npy` file with the loss of every image, float (N,); None keeps all images.
        small_loss: Which losses count as small, the arguments of `select_small_losses`: `rule`
            (mean | quantile | absolute) and `value`. Needs `losses`.
        **kwargs: As `LUSSDataset`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file does not fit the images, or only one of `losses` and `small_loss` is
            given.
    """

    def __init__(
        self,
        class_labels: str,
        losses: str | None = None,
        small_loss: Mapping[str, Any] | None = None,
        **kwargs: object,
    ) -> None:
        if (losses is None) != (small_loss is None):
            raise ValueError('losses and small_loss select together: give both or neither')
        self.class_labels_path = Path(class_labels)
        self.losses_path = losses
        self.small_loss = small_loss
        self.kept: np.ndarray | None = None
        self.num_candidates = 0
        super().__init__(**kwargs)

    def load_data_list(self) -> ImageEntries:
        """The selected images, each with its position among all images of the folders."""
        entries = super().load_data_list()
        self.num_candidates = len(entries)
        self.kept = self._select(len(entries))
        return entries.numbered('position').select(np.flatnonzero(self.kept))

    def prepare_data(self, idx: int) -> dict:
        """Sample after the transforms, which are given `class_label`."""
        info = self.get_data_info(idx)
        info['class_label'] = int(self.labels[info['position']])
        return self.pipeline(info)

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels of all images of the folders, also of those that were not kept. int (N,)."""
        return _read(self.class_labels_path, self.num_candidates)

    def _select(self, num_images: int) -> np.ndarray:
        if self.losses_path is None:
            return np.ones(num_images, dtype=bool)
        return select_small_losses(_read(self.losses_path, num_images), **self.small_loss)


def _read(path: str | Path, num_images: int) -> np.ndarray:
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: missing. The stage that writes it comes first.')
    values = np.load(path, mmap_mode='r')
    if values.shape != (num_images,):
        raise ValueError(
            f'{path}: {values.shape} values for {num_images} images. It was made from other '
            'folders; remove it and run the recipe again.'
        )
    return values
