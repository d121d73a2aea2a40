"""What a run could not use: found before training, or only when an image was decoded."""

from dataclasses import dataclass

from luss_mm.datasets.bad_images import read_found_later
from luss_mm.pipeline.check_images import BAD_IMAGES, BAD_MASKS
from luss_mm.visualization.report.run_files import (
    TRAINING_CHECK,
    VALIDATION_CHECK,
    FinishedRun,
    MissingPartError,
    shown_path,
)

SHOWN = 200  # of each kind


@dataclass(frozen=True)
class BadImages:
    """Images with their problems; at most `SHOWN` of each kind are listed.

    Attributes:
        num_left_out: Training images that the run left out.
        left_out: Of them, folder and file, and the problem.
        num_later: Training images that another one stood in for, as they could not be decoded.
        later: Of them, path and problem as loading told them.
        stopping: Validation images and masks with problems that let the run stop.
        folder: Where all are listed.
    """

    num_left_out: int
    left_out: list[tuple[str, str]]
    num_later: int
    later: list[str]
    stopping: list[tuple[str, str]]
    folder: str


def bad_images(run: FinishedRun) -> BadImages:
    """What the image checks have found. Bad validation images and masks stop a run.

    Args:
        run: Of a recipe.

    Raises:
        MissingPartError: If no image was looked at.
    """
    folder = run.work_dir / TRAINING_CHECK
    if not folder.is_dir():
        raise MissingPartError(f'The run did not look for bad images (no {TRAINING_CHECK}).')
    left_out = [(shown_path(image), problem) for image, problem in run.left_out.items()]
    later = read_found_later(folder)
    return BadImages(
        len(left_out),
        left_out[:SHOWN],
        len(later),
        later[:SHOWN],
        _stopping(run)[:SHOWN],
        str(folder),
    )


def _stopping(run: FinishedRun) -> list[tuple[str, str]]:
    lists = (
        (VALIDATION_CHECK, BAD_IMAGES),
        (VALIDATION_CHECK, BAD_MASKS),
        (TRAINING_CHECK, BAD_MASKS),
    )
    found = []
    for folder, name in lists:
        if (run.work_dir / folder / name).is_file():
            listed = run.read_json(folder, name)
            found += [(shown_path(bad['image']), bad['problem']) for bad in listed]
    return found
