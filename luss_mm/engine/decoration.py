"""Pictures and reports, without which a training is as good."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import print_log

from luss_mm.work_dir.stop_request import stop_asked


@contextmanager
def decoration(name: str) -> Iterator[None]:
    """Log what goes wrong inside as one warning instead of stopping the run.

    Args:
        name: Of what is drawn or written.
    """
    try:
        yield
    except Exception as error:
        if stop_asked():  # the signal ended it
            raise
        print_log(
            f'{name}: failed ({type(error).__name__}: {error}), which changes no result\n'
            f'{traceback.format_exc()}',
            'current',
            logging.WARNING,
        )
