"""Training and using a segmentation model from Python, a notebook included."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luss_mm.recipes.find_recipe import about, check_options, find_recipe, recipes

if TYPE_CHECKING:
    import numpy as np

    from luss_mm.inference.inferencer import LUSSInferencer

Image = 'str | Path | np.ndarray'


def train(
    data: str | Path | None,
    out: str | Path,
    recipe: str | Path = 'pdso_photos',
    num_categories: int | None = None,
    **settings: Any,
) -> 'Run':
    """Train a recipe; with the same arguments again, it goes on where it stopped.

        run = luss_mm.train('photos', 'work_dirs/photos', num_categories=12)
        run.scores, run.labels_used
        labels = run.predict('photos/new')

    Args:
        data: Folder of images, or with `train/` and, where there are masks, `validation/`; None for
            what the recipe names.
        out: Work directory. Finished stages in it are not trained again.
        recipe: Name of a recipe (`list_recipes`) or path of one.
        num_categories: K; None leaves it to the recipe, which may find one.
        **settings: Settings of the recipe, as `luss train RECIPE --settings` lists them. Keys with
            dots reach into stages: `**{'stages.finetune.train_cfg.max_epochs': 3}`.

    Returns:
        The finished run.

    Raises:
        FileNotFoundError: If there is no such recipe.
        SettingsError: If a setting does not exist or cannot have its value, or the data do not fit.
    """
    path = find_recipe(recipe)
    given = dict(data_root=data and str(data), num_categories=num_categories)
    settings = {k: v for k, v in given.items() if v is not None} | settings
    check_options(path, settings, needs_images=True)

    from mmseg.registry import RUNNERS

    from luss_mm.recipes.config_file import read_config, refuse_incomplete

    config = read_config(path, settings)
    refuse_incomplete(config, str(path), ['stages'])
    config.work_dir, config.launcher, config.resume = str(out), 'none', False
    RUNNERS.build(config).train()
    return Run(out)


def load(out: str | Path) -> 'Run':
    """A run that was trained before.

    Args:
        out: Its work directory.

    Raises:
        FileNotFoundError: If it holds no finished stage.
    """
    return Run(out)


def list_recipes() -> dict[str, str]:
    """Name of every recipe -> what it does, in a sentence."""
    return {name: about(path) for name, path in recipes().items()}


class Run:
    """What a recipe has left in its work directory.

    Args:
        out: The work directory.

    Attributes:
        work_dir: The same, as a path.

    Raises:
        FileNotFoundError: If it holds no finished stage.
    """

    def __init__(self, out: str | Path) -> None:
        from luss_mm.work_dir.run_folder import RunFolder

        self.work_dir = Path(out)
        self._folder = RunFolder.read(out)

    @property
    def scores(self) -> dict[str, float]:
        """Figures of the last stage in percent; empty if there were no masks to score it on."""
        return self._folder.stage(self._folder.last).metrics() or {}

    @property
    def labels_used(self) -> list[str]:
        """Which labels were looked at, and for what; empty if none were."""
        return self._folder.labels_used

    @property
    def pseudo_labels(self) -> Path | None:
        """Folder of the label maps that the last stage was trained on; None if it had none."""
        from luss_mm.work_dir.run_folder import PSEUDO_LABELS

        path = self.work_dir / PSEUDO_LABELS
        return path if path.is_dir() else None

    @property
    def report(self) -> Path:
        """The page about the run, which is written if it is not there yet."""
        from luss_mm.visualization.report import report_is_current, report_page, write_report

        if report_is_current(self.work_dir):
            return report_page(self.work_dir)
        return write_report(self.work_dir)

    @cached_property
    def inferencer(self) -> 'LUSSInferencer':
        """The trained model, which also yields overlays and shares, and any number of images."""
        from luss_mm.inference.inferencer import LUSSInferencer

        return LUSSInferencer(self.work_dir)

    def predict(self, images: 'Image | Sequence[Image]') -> 'list[np.ndarray]':
        """Label maps of images, uint16 (H, W): 0 others, then clusters (`inferencer.name_of`).

        Args:
            images: A file, a folder, an array (BGR uint8, (H, W, 3)), or a list of files
                and arrays.

        Raises:
            BadImageError: If an image cannot be read.
        """
        return self.inferencer(images)['predictions']

    def __repr__(self) -> str:
        """Place, score and labels, as a notebook shows them."""
        scores = ', '.join(f'{name} {value:.2f}' for name, value in self.scores.items())
        used = '; '.join(self.labels_used) or 'none'
        return f'Run({str(self.work_dir)!r}, scores: {scores or "none"}, labels used: {used})'
