"""What every scored image contributed, a line an image, for whoever looks at single images."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np

from luss_mm.work_dir.atomic_files import temporary_path
from luss_mm.work_dir.run_folder import IMAGE_COUNTS, EvaluationFolder

if TYPE_CHECKING:
    from luss_mm.functional.image_tally import ImageTally


class ImageCounts(NamedTuple):
    """Pixels of one image that are not ignored, before any matching.

    Attributes:
        image: Path of the image as the data set gave it.
        clusters: Generated ids of the prediction, ascending, int64. Shape (p,).
        categories: True ids of the mask, ascending, int64. Shape (q,).
        pixels: Pixels of each pair, int64. Shape (p, q).
    """

    image: str
    clusters: np.ndarray
    categories: np.ndarray
    pixels: np.ndarray


class ImageCountsWriter:
    """Writes `image_counts.<rank>.jsonl`; a file has this name once it is complete.

    Memory: one line. Disk: some 200 bytes an image. All ranks write into one directory.

    Args:
        directory: Made when the first image comes. None writes nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self._file: TextIO | None = None
        self._path: Path | None = None  # of the file that is not complete yet

    def add(self, image: str, tally: 'ImageTally') -> None:
        """Append one image."""
        if self.directory is None:
            return
        if self._file is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._path = temporary_path(self.directory / IMAGE_COUNTS)
            self._file = open(self._path, 'x', encoding='utf-8')
        pixels = tally.joint()
        counted = pixels.sum(dim=1) > 0
        line = dict(
            image=image,
            clusters=tally.clusters[counted].tolist(),
            categories=tally.categories.tolist(),
            pixels=pixels[counted].tolist(),
        )
        self._file.write(json.dumps(line, separators=(',', ':')) + '\n')

    def finish(self) -> None:
        """Give the file its name; rank 0 removes what more ranks left at an earlier time."""
        if self.directory is None:
            return
        from mmengine.dist import get_dist_info  # imports torch, which reading does not need

        rank, world = get_dist_info()
        if self._file is not None:
            self._file.close()
            self._file = None
            os.replace(self._path, self.directory / IMAGE_COUNTS.format(rank))
        if rank == 0:
            current = {IMAGE_COUNTS.format(other) for other in range(world)}
            for path in self.directory.glob(IMAGE_COUNTS.format('*')):
                if path.name not in current:
                    path.unlink()

    def discard(self) -> None:
        """Leave nothing of an unfinished file; a finished one stays."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink()


def has_image_counts(directory: Path) -> bool:
    """Whether an evaluation left its counts image by image."""
    return any(directory.glob(IMAGE_COUNTS.format('*')))


def read_image_counts(directory: Path) -> Iterator[ImageCounts]:
    """The images of an evaluation, one at a time, in no special order.

    Raises:
        ValueError: If a line is no such record; it names the file.
    """
    for path in sorted(directory.glob(IMAGE_COUNTS.format('*'))):
        with open(path, encoding='utf-8') as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield _parse(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f'{path}, line {number}: damaged ({error})') from error


def _parse(line: str) -> ImageCounts:
    record = json.loads(line)
    clusters, categories = (np.array(record[n], np.int64) for n in ('clusters', 'categories'))
    pixels = np.array(record['pixels'], np.int64).reshape(len(clusters), len(categories))
    return ImageCounts(record['image'], clusters, categories, pixels)


def foreground_iou(counts: ImageCounts, mapping: np.ndarray, num_categories: int) -> float | None:
    """Mean IoU of one image over the categories in its mask or its matched prediction.

    "Others" is left out, so that an image without a found object scores 0.

    Args:
        counts: Of the image.
        mapping: Category id of each generated id, C + 1 for unmatched. Shape (G + 1,).
        num_categories: C.

    Returns:
        Mean in [0, 1]; None if neither holds a category.
    """
    predicted = mapping[counts.clusters]  # (p,)
    ids = np.union1d(predicted, counts.categories)
    ids = ids[(ids > 0) & (ids <= num_categories)][:, None]  # (n, 1)
    if not ids.size:
        return None
    rows, columns = ids == predicted, ids == counts.categories  # (n, p), (n, q)
    both = np.einsum('np,pq,nq->n', rows, counts.pixels, columns)
    either = rows @ counts.pixels.sum(axis=1) + columns @ counts.pixels.sum(axis=0) - both
    return float((both / either).mean())


def rank_images(directory: Path) -> list[tuple[float, str]]:
    """Images of an evaluation from the worst to the best, those without any category left out.

    Args:
        directory: What a metric wrote, with image counts.

    Returns:
        Foreground IoU and path. Of equal ones the share of right pixels decides, then the path.
    """
    evaluation = EvaluationFolder(directory)
    category_of, num_categories = evaluation.mapping(), evaluation.scores()['num_categories']
    ranking = []
    for counts in read_image_counts(directory):
        iou = foreground_iou(counts, category_of, num_categories)
        if iou is not None:
            right = counts.pixels[category_of[counts.clusters][:, None] == counts.categories]
            ranking.append((iou, right.sum() / counts.pixels.sum(), counts.image))
    return [(iou, image) for iou, _, image in sorted(ranking)]
