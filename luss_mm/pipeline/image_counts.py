"""What a metric counted in each image, and what it says about the run."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from luss_mm.functional.label_health import foreground_problem, loses_foreground
from luss_mm.work_dir.atomic_files import temporary_path
from luss_mm.work_dir.run_folder import (
    EMPTY_IMAGES,
    IMAGE_COUNTS,
    MEAN_FOREGROUND,
    MEDIAN_FOREGROUND,
    EvaluationFolder,
    MissingPartError,
    RunFolder,
    read_outcomes,
)

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
        counts: Counts of the image.
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


@dataclass(frozen=True)
class RunHealth:
    """What there is to say about the foreground of a run.

    Attributes:
        facts: Mean share of foreground in pseudo-labels and in predictions, a line; None where the
            run has no predictions.
        failures: Why the run has probably failed, at which step, and what to try, a line each.
    """

    facts: str | None
    failures: list[str]

    @property
    def lines(self) -> list[str]:
        """All of it, for the end of a log."""
        return [self.facts, *self.failures] if self.facts else self.failures


def judge_run(work_dir: str | Path, stage: str) -> RunHealth:
    """Judge pseudo-labels, and the predictions of the network that was trained on them.

    Predictions are those of the validation images, or of the pictured training images where nothing
    is scored. Runs without pseudo-labels, and those of versions that did not count foreground, have
    neither facts nor failures.

    Args:
        work_dir: Work directory of a finished recipe.
        stage: Name of the fine-tuning.
    """
    run = RunFolder(work_dir)
    try:
        outcomes = read_outcomes(run.pseudo_labels)
    except MissingPartError:
        outcomes = {}
    if MEDIAN_FOREGROUND not in outcomes:
        return RunHealth(None, [])
    failures = []
    empty = outcomes.get(EMPTY_IMAGES, 0) / outcomes['images']
    if problem := foreground_problem(empty, outcomes[MEDIAN_FOREGROUND] / 100):
        failures.append(
            f'the run has probably failed at its pseudo-labels: {problem}. Try another '
            'foreground=..., or other weights (checkpoint=...).'
        )
    shares = _foreground_shares(run, run.stage(stage).evaluation.path, outcomes)
    if shares is None:
        return RunHealth(None, failures)
    labelled, predicted, images = shares
    facts = (
        f'foreground, mean of the images: {labelled:.1%} of pseudo-labels, {predicted:.1%} of '
        f'predictions ({images})'
    )
    if loses_foreground(predicted, labelled):
        failures.append(
            f'the run has probably failed at its fine-tuning ({stage}): predictions have '
            f'{predicted:.1%} foreground, less than half of the {labelled:.1%} of pseudo-labels. '
            'Try a longer one (finetune_epochs=...), or another finetune_lr=...'
        )
    return RunHealth(facts, failures)


def mean_predicted_foreground(evaluation: str | Path) -> float:
    """Mean share of foreground of the predictions that a metric has counted.

    Args:
        evaluation: Folder with image counts; ignored pixels are not in them.

    Returns:
        Mean over the images, in [0, 1].
    """
    shares = [
        counts.pixels[counts.clusters > 0].sum() / counts.pixels.sum()
        for counts in read_image_counts(Path(evaluation))
        if counts.pixels.size
    ]
    return float(np.mean(shares))


def _foreground_shares(
    run: RunFolder, evaluation: Path, outcomes: dict[str, Any]
) -> tuple[float, float, str] | None:
    """Mean foreground of labels and of predictions, and of what images the latter are."""
    if has_image_counts(evaluation):
        predicted = mean_predicted_foreground(evaluation)
        return outcomes[MEAN_FOREGROUND] / 100, predicted, 'validation images'
    if (means := run.pictured_foreground()) is None:
        return None
    return means['pseudo_labels'], means['predictions'], 'pictured training images'
