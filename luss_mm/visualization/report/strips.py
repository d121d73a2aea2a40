"""Images as all models see them: the best, the worst, and some of all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luss_mm.pipeline.image_counts import has_image_counts, rank_images, read_image_counts
from luss_mm.visualization.report.pictures import Picture, PictureFolder
from luss_mm.visualization.report.run_files import shown_images, shown_path
from luss_mm.visualization.report.scores import ScoredRun
from luss_mm.visualization.run_pictures import STRIPS, strip_index
from luss_mm.work_dir.run_folder import MissingPartError, RunFolder

SHOWN = 12  # of the best and of the worst


@dataclass(frozen=True)
class Strip:
    """One image.

    Attributes:
        kind: 'best', 'worst' or 'all'.
        name: Folder and file.
        picture: Drawn by the run.
        iou: Mean foreground IoU in percent, or None.
        truth: Names of the categories in the mask.
        predicted: Names of the categories in the matched prediction.
    """

    kind: str
    name: str
    picture: Picture
    iou: float | None = None
    truth: tuple[str, ...] = ()
    predicted: tuple[str, ...] = ()


def strips(run: RunFolder, evaluation: ScoredRun | None, pictures: PictureFolder) -> list[Strip]:
    """The strips that the run drew, the best first, then the worst, then the others.

    Args:
        run: Of a recipe.
        evaluation: None if nothing was scored.
        pictures: Gets the strips.

    Raises:
        MissingPartError: If the run drew none.
    """
    files = sorted((run.pictures / STRIPS).glob('*.jpg'))
    if not files:
        raise MissingPartError(
            'The run drew no images. For predictions of any images: '
            'python tools/infer.py WORK_DIR PHOTOS --out DIR'
        )
    names = _image_of_file(run, files)
    kinds, facts = {}, {}
    if evaluation is not None and has_image_counts(run.evaluation.path):
        ranking = rank_images(run.evaluation.path)
        number = min(SHOWN, len(ranking) // 2)
        kinds |= {image: 'worst' for _, image in ranking[:number]}
        kinds |= {image: 'best' for _, image in ranking[len(ranking) - number :]}
        facts = _facts(run, evaluation, dict((image, iou) for iou, image in ranking), names)
    drawn = []
    for file in files:
        image = names.get(file, '')
        title = shown_path(image) if image else file.stem
        picture = pictures.add_file(f'strip-{file.stem}', file, f'{title} as all models see it')
        drawn.append(Strip(kinds.get(image, 'all'), title, picture, **facts.get(image, {})))
    order = {'best': 0, 'worst': 1, 'all': 2}
    sign = {'best': -1, 'worst': 1, 'all': 0}
    return sorted(drawn, key=lambda s: (order[s.kind], sign[s.kind] * (s.iou or 0), s.name))


def _image_of_file(run: RunFolder, files: list[Path]) -> dict[Path, str]:
    """Path of the image that a strip shows, while the images are there."""
    try:
        images = shown_images(run)
    except MissingPartError:
        return {}
    indices = {file: strip_index(file) for file in files}
    return {file: str(images[index]) for file, index in indices.items() if index < len(images)}


def _facts(
    run: RunFolder, evaluation: ScoredRun, iou_of: dict[str, float], names: dict[Path, str]
) -> dict[str, dict]:
    """IoU and categories of the images that are shown."""
    shown, facts = set(names.values()), {}
    for counts in read_image_counts(run.evaluation.path):
        if counts.image in shown:
            predicted = np.unique(evaluation.category_of[counts.clusters])
            iou = iou_of.get(counts.image)
            facts[counts.image] = dict(
                iou=None if iou is None else 100 * iou,
                truth=tuple(evaluation.names[c] for c in counts.categories if c > 0),
                predicted=tuple(evaluation.names[c] for c in predicted if c > 0),
            )
    return facts
