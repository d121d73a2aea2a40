"""What somebody may have meant by a path that is not there."""

import difflib
import os
from pathlib import Path

CLOSE = 0.75  # of difflib's ratio; numbered names should not stand in for each other


def did_you_mean_path(path: str | Path) -> str:
    """' Did you mean X?', X beside the first part that is not there; nothing without one."""
    missing = Path(path).absolute()
    if os.path.lexists(missing):
        return ''
    while not os.path.lexists(missing.parent):
        missing = missing.parent
    try:
        close = difflib.get_close_matches(missing.name, os.listdir(missing.parent), 1, CLOSE)
    except OSError:
        return ''
    if not close:
        return ''
    near = missing.with_name(close[0])
    return f' Did you mean {near if os.path.isabs(path) else os.path.relpath(near)}?'
