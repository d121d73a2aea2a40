"""What a run could not use: found before training, or only when an image was decoded."""

from dataclasses import dataclass

from luss_mm.datasets.seeded_dataset import read_found_later
from luss_mm.visualization.report.run_files import shown_path
from luss_mm.work_dir.run_folder import (
    BAD_IMAGES,
    BAD_MASKS,
    MissingPartError,
    RunFolder,
    read_bad_files,
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


def bad_images(run: RunFolder) -> BadImages:
    """What the image checks have found. Bad validation images and masks stop a run.

    Args:
        run: Of a recipe.

    Raises:
        MissingPartError: If no image was looked at.
    """
    folder = run.training_check
    if not folder.is_dir():
        raise MissingPartError(f'The run did not look for bad images (no {folder.name}).')
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


def _stopping(run: RunFolder) -> list[tuple[str, str]]:
    lists = (
        (run.validation_check, BAD_IMAGES),
        (run.validation_check, BAD_MASKS),
        (run.training_check, BAD_MASKS),
    )
    found = [bad for folder, name in lists for bad in read_bad_files(folder, name)]
    return [(shown_path(bad['image']), bad['problem']) for bad in found]
