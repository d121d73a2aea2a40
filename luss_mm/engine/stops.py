"""Why a run had to stop, in one line, where that is not a fault of the program."""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

from luss_mm.datasets.image_file import ImageFileError
from luss_mm.engine.checkpoint import CheckpointError
from luss_mm.engine.hooks.finite_loss import InfiniteLossError
from luss_mm.engine.settings import SettingsError
from luss_mm.engine.work_dir_lock import WorkDirInUseError
from luss_mm.pipeline.artifact import ManifestError

# Their messages name the thing and the mend.
SELF_EXPLAINING = (
    CheckpointError,
    ImageFileError,
    InfiniteLossError,
    ManifestError,
    SettingsError,
    WorkDirInUseError,
)
MENDS = {
    errno.ENOSPC: 'Free some space',
    errno.EDQUOT: 'Free some space, or have the quota raised',
    errno.EROFS: 'Set another work_dir, or mount it writable',
    errno.EACCES: 'Set another work_dir or data_root, or change the permissions',
    errno.EPERM: 'Set another work_dir or data_root, or change the permissions',
    errno.EMFILE: 'Raise the limit of open files (ulimit -n), or set a smaller num_workers',
}
SHARED_MEMORY_FOLDER = '/dev/shm'
FULL = 1 << 20  # free bytes of a disk that counts as full
GOES_ON = 'The same command then goes on where the run stopped.'
# torch's own words, from the workers of a data loader or from the process that they send to.
SHARED_MEMORY = re.compile(r'(?i)shared memory|/torch_\d+|\bshm\b|bus error')
KILLED_WORKER = re.compile(
    r'DataLoader worker \(pid\S* [\d, ]+\) (?:is killed|exited unexpectedly)'
)
# gloo's and NCCL's words.
LOST_RANK = re.compile(
    r'(?i)connection closed by peer|connection reset|broken pipe|remote process exited|'
    r'timed out waiting .*ms for (?:recv|send)|connect\w* refused'
)


def explain_stop(error: BaseException, work_dir: str | Path = '.') -> str | None:
    """One line for a mistake in the settings, a bad file, a disk that is full or the like.

    Args:
        error: That ended a run, also if it comes from a worker of a data loader.
        work_dir: Of the run; its disk is looked at if the error names no file.

    Returns:
        What is wrong and the mend, or None if the traceback should be seen.
    """
    if isinstance(error, SELF_EXPLAINING):
        return _without_worker_traceback(error)
    if isinstance(error, (OSError, RuntimeError)):
        number, file = getattr(error, 'errno', None), getattr(error, 'filename', None)
        if file is None and number == errno.ENOSPC:  # Python names no file when a write fails
            file = ' or '.join(_full_disks(work_dir))
        if SHARED_MEMORY.search(str(error)) or file == SHARED_MEMORY_FOLDER:
            return (
                'no space in shared memory (/dev/shm), which loading processes send samples '
                'through: enlarge it (docker run --shm-size=8g), or set num_workers=0 or smaller '
                f'batches. {GOES_ON}'
            )
        if KILLED_WORKER.search(str(error)):
            return (
                'a loading process was killed, as the kernel does when memory runs out '
                f'(dmesg tells): set a smaller num_workers or batch_size. {GOES_ON}'
            )
        if isinstance(error, RuntimeError) and LOST_RANK.search(str(error)):
            return (
                'another process of this run has ended; its own output, or that of its machine, '
                f'says why. {GOES_ON}'
            )
        if number in MENDS:
            return f'{file}: {os.strerror(number)}. {MENDS[number]}. {GOES_ON}'
    return None


def _full_disks(work_dir: str | Path) -> list[str]:
    """Those of the folders that a run writes to which have no space left.

    The work directory if none has: what could not be written whole may be removed already.
    """
    folders = os.fspath(work_dir), tempfile.gettempdir(), SHARED_MEMORY_FOLDER
    there = [folder for folder in folders if os.path.isdir(folder)]
    full = [folder for folder in there if shutil.disk_usage(folder).free < FULL]
    return full or [os.fspath(work_dir)]


def _without_worker_traceback(error: BaseException) -> str:
    """The message of an error that a data loader's worker raised, or of any other."""
    text = str(error)
    if not text.startswith('Caught '):
        return text
    return text.strip().splitlines()[-1].partition(': ')[2]
