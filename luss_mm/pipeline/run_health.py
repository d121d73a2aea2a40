"""Whether a finished run has probably failed, told without masks from what its steps left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luss_mm.functional.label_health import foreground_problem, loses_foreground
from luss_mm.pipeline.image_counts import has_image_counts, read_image_counts
from luss_mm.work_dir.run_folder import (
    EMPTY_IMAGES,
    MEAN_FOREGROUND,
    MEDIAN_FOREGROUND,
    MissingPartError,
    RunFolder,
    read_outcomes,
)


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
        work_dir: Of a finished recipe.
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
