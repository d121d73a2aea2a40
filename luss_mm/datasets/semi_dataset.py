"""Labelled and unlabelled images as one data set."""

import hashlib
from collections.abc import Iterator
from itertools import chain

from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from luss_mm.datasets.sample_seed import EpochIndex


@DATASETS.register_module()
class SemiDataset(Dataset):
    """The images of a labelled data set, then those of an unlabelled one.

    Both come with pipelines of their own. Which is drawn when is the matter of `SemiSampler`.

    Args:
        labelled: Config of a data set whose samples are seeded by epoch, as `LUSSDataset` or
            `ImageListDataset`.
        unlabelled: The same.

    Attributes:
        parts: Both data sets.
        metainfo: Of the labelled one.
    """

    def __init__(self, labelled: dict, unlabelled: dict) -> None:
        self.parts = (DATASETS.build(labelled), DATASETS.build(unlabelled))
        self.metainfo = self.parts[0].metainfo

    @property
    def num_labelled(self) -> int:
        """Number of labelled images; the others are unlabelled."""
        return len(self.parts[0])

    @property
    def num_unlabelled(self) -> int:
        """Number of unlabelled images."""
        return len(self.parts[1])

    def __len__(self) -> int:
        """Number of labelled and unlabelled images."""
        return self.num_labelled + self.num_unlabelled

    def __getitem__(self, index: int) -> dict:
        """Sample as drawn in the pass of an `EpochIndex` (see SemiSampler), else drawn anew.

        Raises:
            IndexError: If there is no such sample.
        """
        part, position = self._locate(index)
        if isinstance(index, EpochIndex):
            # Even epochs for labelled images, odd ones for others: image i of both draws otherwise.
            position = EpochIndex(position, 2 * index.epoch + part)
        return self.parts[part][position]

    def get_data_info(self, index: int) -> dict:
        """Entry of an image, labelled ones first."""
        part, position = self._locate(index)
        return self.parts[part].get_data_info(position)

    def relative_path(self, index: int) -> str:
        """Path of an image relative to its image folder, with '/' between the parts."""
        part, position = self._locate(index)
        return self.parts[part].relative_path(position)

    def fingerprint(self) -> str:
        """SHA-256 of both fingerprints."""
        text = '\n'.join(part.fingerprint() for part in self.parts)
        return hashlib.sha256(text.encode()).hexdigest()

    def label_paths(self) -> Iterator[str]:
        """Where the label maps of the images lie, of those that have one."""
        return chain.from_iterable(part.label_paths() for part in self.parts)

    def _locate(self, position: int) -> tuple[int, int]:
        """Which part an image belongs to and its position there; negative ones from the end."""
        position = range(len(self))[position]
        if position < self.num_labelled:
            return 0, position
        return 1, position - self.num_labelled
