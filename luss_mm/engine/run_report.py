"""The report of a run, with what only its checkpoints know."""

import logging
import traceback
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from luss_mm.checkpoints.loading import load_checkpoint
from luss_mm.visualization.report import report_is_current, write_report
from luss_mm.visualization.report.page import LARGEST_PAGE, report_page
from luss_mm.work_dir.run_folder import RunFolder

PROTOTYPES = 'head.prototypes.weight'


def report_run(work_dir: str | Path, largest_page: int = LARGEST_PAGE) -> Path:
    """Write the report of a run, see `write_report`.

    Args:
        work_dir: Of a recipe with at least one finished stage.
        largest_page: Bytes of pictures up to which the page holds them itself.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: If no stage is finished.
    """
    prototypes = {}
    run = RunFolder.read(work_dir)
    for name in run.trainings:
        checkpoint = run.stage(name).checkpoint
        if checkpoint.is_file():
            prototypes |= prototype_use(name, checkpoint)
    return write_report(work_dir, prototypes, largest_page)


def prototype_use(name: str, checkpoint: str | Path) -> dict[str, np.ndarray]:
    """How many embeddings of the feature queue are nearest to each prototype.

    Args:
        name: Of the stage.
        checkpoint: Its weights, with the queue that `FeatureQueueHook` saves.

    Returns:
        Title -> counts, int64 (P,), for each global view; empty without prototypes or queue.
    """
    content = load_checkpoint(checkpoint, map_location='cpu')
    weight = content['state_dict'].get(PROTOTYPES)
    queue = content.get('feature_queue')
    if weight is None or not queue or not queue['filled']:
        return {}
    rows = queue['rows'][:, : queue['filled']].float()  # (V, L, D)
    return {
        f'{name}, view {view}': np.bincount(
            (embeddings @ weight.float().T).argmax(dim=1).numpy(), minlength=len(weight)
        )
        for view, embeddings in enumerate(rows, start=1)
    }


def report_line(work_dir: str | Path) -> str:
    """Write the report if it is not of these outputs already; a line for the end of a run.

    A failure is logged in full and stops nothing: the training is finished.
    """
    try:
        current = report_is_current(work_dir)
        return f'report: {report_page(work_dir) if current else report_run(work_dir)}'
    except Exception as error:
        print_log(
            f'the report failed:\n{traceback.format_exc()}', logger='current', level=logging.ERROR
        )
        return f'report: none, it failed ({type(error).__name__}: {error}); the log has more'
