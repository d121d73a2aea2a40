"""Which images and masks of a data set cannot be used, found once, before anything trains."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import barrier, get_dist_info, is_main_process
from torch.utils.data import Dataset

from luss_mm.datasets.image_file import find_image_problem, read_image_size
from luss_mm.datasets.transforms import LoadLabelMap
from luss_mm.terminal import Progress
from luss_mm.work_dir.artifact import FinishedShards, produce
from luss_mm.work_dir.run_folder import BAD_IMAGES, BAD_MASKS, ODD_MASKS, write_bad_files

SHARD_SIZE = 4096  # images that an interruption loses at most
SHOWN_IDS = 5
THREADS = 16  # they wait for the disk most of the time


@dataclass(frozen=True)
class CheckedDataset:
    """A data set whose files are to be checked.

    Attributes:
        dataset: With `get_data_info`.
        label_loader: Reads its masks; None if there are none to check.
        num_ids: Ids 0..num_ids - 1 are allowed in masks, beside the ignore_index of the data set;
            None allows those that the data set names.
        folder_ids: Ids of category folders, whose masks mostly hold them.
        stored_pixels: Masks have the size of the stored pixels, see `LoadBoundedImage`.
    """

    dataset: Dataset
    label_loader: LoadLabelMap | None = None
    num_ids: int | None = None
    folder_ids: Mapping[str, int] = field(default_factory=dict)
    stored_pixels: bool = False

    def find_problems(self, index: int) -> tuple[list[dict], list[dict], list[dict]]:
        """What is wrong with an image, and with its mask, and what is odd about the mask.

        Returns:
            Lists of at most one dict each, see `read_bad_files`.
        """
        entry = self.dataset.get_data_info(index)
        image, mask = entry['img_path'], entry.get('seg_map_path')
        if problem := find_image_problem(image):
            return [dict(image=image, problem=problem)], [], []
        if self.label_loader is None or mask is None:
            return [], [], []
        try:
            labels = self.label_loader.read(mask)
        except (OSError, ValueError) as error:
            problem = str(error).removeprefix(f'{mask}: ').removesuffix('.')
            return [], [dict(image=mask, problem=problem)], []
        if problem := self._find_wrong_size(labels, image) or self._find_wrong_ids(labels):
            return [], [dict(image=mask, problem=problem)], []
        problem = self._find_foreign_ids(labels, index)
        return [], [], [dict(image=mask, problem=problem)] if problem else []

    def _find_wrong_size(self, labels: np.ndarray, image: str) -> str | None:
        size = read_image_size(image, self.stored_pixels)
        if labels.shape == size:
            return None
        return f'the mask is {labels.shape}, its image {size} (height, width)'

    def _find_wrong_ids(self, labels: np.ndarray) -> str | None:
        names = self.dataset.metainfo.get('classes') or ()
        limits = [len(names)] if len(names) > 1 else []
        limits += [self.num_ids] if self.num_ids is not None else []
        ignored = self.dataset.ignore_index
        wrong = labels[(labels >= min(limits, default=np.inf)) & (labels != ignored)]
        if not wrong.size:
            return None
        ids = np.unique(wrong).tolist()
        shown = ', '.join(map(str, ids[:SHOWN_IDS])) + (' ...' if len(ids) > SHOWN_IDS else '')
        return (
            f'has the {"id" if len(ids) == 1 else "ids"} {shown}, and only 0 to {min(limits) - 1} '
            f'and ignore_index={ignored} are allowed; set ignore_index={ids[-1]} if such pixels do '
            'not count, or a larger num_categories'
        )

    def _find_foreign_ids(self, labels: np.ndarray, index: int) -> str | None:
        folder = self.dataset.relative_path(index).partition('/')[0] if self.folder_ids else ''
        own = self.folder_ids.get(folder)
        if own is None or (labels == own).any():
            return None
        ids = ', '.join(map(str, np.unique(labels).tolist()[:SHOWN_IDS]))
        return f'{folder!r} is the id {own}, and the mask has {ids}'


def check_images(
    directory: str | Path, datasets: Mapping[str, CheckedDataset], inputs: Mapping[str, Any]
) -> Path:
    """Look at every file of some data sets, once for as long as they stay the same.

    Collective: every rank looks at its share. See `find_image_problem` for what is found, and at
    what cost.

    Args:
        directory: Gets three lists, see `read_bad_files`.
        datasets: By name.
        inputs: What they are made of.

    Returns:
        The directory.
    """

    def make(unfinished: Path) -> None:
        finished = FinishedShards(unfinished)
        _check_shards(finished, datasets)
        barrier()
        if is_main_process():
            names = sorted(shard for _, shard, _ in _shards(datasets))
            found = [finished.content(shard) for shard in names]
            for place, name in enumerate((BAD_IMAGES, BAD_MASKS, ODD_MASKS)):
                # Data sets may share images.
                bad = {entry['image']: entry for shard in found for entry in shard[place]}
                write_bad_files(unfinished, name, list(bad.values()))

    return produce(directory, make, inputs, {})


def _check_shards(finished: FinishedShards, datasets: Mapping[str, CheckedDataset]) -> None:
    rank, world = get_dist_info()
    shards = list(_shards(datasets))[rank::world]
    progress = Progress('image check', sum(len(indices) for _, _, indices in shards))
    with ThreadPoolExecutor(THREADS) as pool:
        for name, shard, indices in shards:
            if shard not in finished:
                problems = list(pool.map(datasets[name].find_problems, indices))
                found = [[bad for p in problems for bad in p[place]] for place in range(3)]
                finished.add(shard, content=found)
            progress.advance(len(indices))


def _shards(datasets: Mapping[str, CheckedDataset]) -> Iterator[tuple[str, str, range]]:
    """Data set, name and images of every shard."""
    for name, checked in datasets.items():
        count = len(checked.dataset)
        for number, start in enumerate(range(0, count, SHARD_SIZE)):
            yield name, f'{name}-{number:06d}', range(start, min(start + SHARD_SIZE, count))
