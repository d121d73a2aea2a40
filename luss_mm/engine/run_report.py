"""The report at the end of a run."""

import logging
import traceback
from pathlib import Path

from mmengine.logging import print_log

from luss_mm.visualization.report import report_is_current, report_page, write_report


def report_line(work_dir: str | Path) -> str:
    """Write the report if it is not of these outputs already; a line for the end of a run.

    A failure is logged in full and stops nothing: the training is finished.
    """
    try:
        current = report_is_current(work_dir)
        return f'report: {report_page(work_dir) if current else write_report(work_dir)}'
    except Exception as error:
        print_log(
            f'the report failed:\n{traceback.format_exc()}', logger='current', level=logging.ERROR
        )
        return f'report: none, it failed ({type(error).__name__}: {error}); the log has more'
