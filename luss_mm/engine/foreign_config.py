"""A config is a program: said once for those that did not come with the package."""

import logging
import os
from pathlib import Path

from mmengine.logging import print_log

OWN_CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def warn_of_foreign_config(path: str | Path) -> None:
    """Log a line, on one rank, if a config that is about to be executed lies elsewhere."""
    if Path(path).resolve().is_relative_to(OWN_CONFIGS) or os.environ.get('RANK', '0') != '0':
        return
    print_log(
        f'{path} is executed, as every config is, and is none of {OWN_CONFIGS}: go on only if you '
        'trust who wrote it.',
        logger='current',
        level=logging.WARNING,
    )
