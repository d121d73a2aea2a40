"""A config is a program: said once for those that another account has written."""

import logging
import os
from pathlib import Path

from mmengine.logging import print_log

PACKAGE = Path(__file__).resolve().parents[1]
OWN_CONFIGS = (PACKAGE.parent / 'configs', PACKAGE / '.mim' / 'configs')  # checkout, wheel


def warn_of_foreign_config(path: str | Path) -> None:
    """Log a line, on one rank, if a config that is about to be executed is somebody else's.

    Configs of this package are not, and neither is one that belongs to this account, or to the one
    that the working directory belongs to: in a container both may differ.
    """
    file = Path(path).resolve()
    if os.environ.get('RANK', '0') != '0' or any(map(file.is_relative_to, OWN_CONFIGS)):
        return
    if file.stat().st_uid in (os.geteuid(), Path.cwd().stat().st_uid):
        return
    print_log(
        f'{path} is executed, as every config is, and belongs to another account: go on only if '
        'you trust who wrote it.',
        logger='current',
        level=logging.WARNING,
    )
