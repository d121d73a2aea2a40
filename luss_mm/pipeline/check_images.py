"""Which images and masks of a data set cannot be used, found once, before anything trains."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, get_dist_info, is_main_process
from torch.utils.data import Dataset

from luss_mm.atomic_files import write_atomically
from luss_mm.datasets.image_file import find_image_problem, read_image_size
from luss_mm.datasets.transforms import LoadLabelMap
from luss_mm.pipeline.artifact import produce
from luss_mm.pipeline.image_batches import Progress
from luss_mm.pipeline.stop_request import stop_if_asked

BAD_IMAGES, BAD_MASKS = 'bad_images.json', 'bad_masks.json'
SHARD_SIZE = 4096  # images that an interruption loses at most
THREADS = 16  # they wait for the disk most of the time


@dataclass(frozen=True)
class CheckedDataset:
    """A data set whose files are to be checked.

    Attributes:
        dataset: With `get_data_info`.
        label_loader: Reads its masks; None if there are none to check.
    """

    dataset: Dataset
    label_loader: LoadLabelMap | None = None

    def find_problems(self, index: int) -> tuple[list[dict], list[dict]]:
        """What is wrong with an image, and with its mask: at most one dict each, see `read_bad`."""
        entry = self.dataset.get_data_info(index)
        image, mask = entry['img_path'], entry.get('seg_map_path')
        if problem := find_image_problem(image):
            return [dict(image=image, problem=problem)], []
        if self.label_loader is None or mask is None:
            return [], []
        problem = self._find_mask_problem(image, mask)
        return [], [dict(image=mask, problem=problem)] if problem else []

    def _find_mask_problem(self, image: str, mask: str) -> str | None:
        try:
            labels = self.label_loader.read(mask)
        except (OSError, ValueError) as error:
            return str(error).removeprefix(f'{mask}: ').removesuffix('.')
        size = read_image_size(image)
        if labels.shape != size:
            return f'the mask is {labels.shape}, its image {size} (height, width)'
        names = self.dataset.metainfo.get('classes')
        found = labels[labels != self.dataset.ignore_index]
        if names and len(names) > 1 and found.size and found.max() >= len(names):
            return f'has the id {found.max()}, and there are names for 0 to {len(names) - 1}'
        return None


def check_images(
    directory: str | Path, datasets: Mapping[str, CheckedDataset], inputs: Mapping[str, Any]
) -> Path:
    """Look at every file of some data sets, once for as long as they stay the same.

    Collective: every rank looks at its share. See `find_image_problem` for what is found, and at
    what cost.

    Args:
        directory: Gets `bad_images.json` and `bad_masks.json`, see `read_bad`.
        datasets: By name.
        inputs: What they are made of.

    Returns:
        The directory.
    """

    def make(unfinished: Path) -> None:
        _check_shards(unfinished, datasets)
        barrier()
        if is_main_process():
            found = [json.loads(p.read_text()) for p in sorted(unfinished.glob('shard-*.json'))]
            for place, name in enumerate((BAD_IMAGES, BAD_MASKS)):
                # Data sets may share images.
                bad = {entry['image']: entry for shard in found for entry in shard[place]}
                write_atomically(unfinished / name, json.dumps(list(bad.values())).encode())

    return produce(directory, make, inputs, {})


def read_bad(directory: str | Path, name: str) -> list[dict[str, str]]:
    """Path and problem of files that cannot be used, as `image` and `problem`.

    Args:
        directory: Of `check_images`.
        name: BAD_IMAGES or BAD_MASKS.
    """
    return json.loads(Path(directory, name).read_text())


def _check_shards(directory: Path, datasets: Mapping[str, CheckedDataset]) -> None:
    rank, world = get_dist_info()
    shards = list(_shards(datasets))[rank::world]
    progress = Progress('image check', sum(len(indices) for _, _, indices in shards))
    with ThreadPoolExecutor(THREADS) as pool:
        for name, number, indices in shards:
            path = directory / f'shard-{name}-{number:06d}.json'
            if not path.is_file():
                problems = list(pool.map(datasets[name].find_problems, indices))
                found = [[bad for p in problems for bad in p[place]] for place in (0, 1)]
                write_atomically(path, json.dumps(found).encode())
            progress.advance(len(indices))
            stop_if_asked('image check: shards up to this one are kept')


def _shards(datasets: Mapping[str, CheckedDataset]) -> Iterator[tuple[str, int, range]]:
    for name, checked in datasets.items():
        count = len(checked.dataset)
        for number, start in enumerate(range(0, count, SHARD_SIZE)):
            yield name, number, range(start, min(start + SHARD_SIZE, count))
