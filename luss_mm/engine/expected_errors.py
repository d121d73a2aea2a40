"""Why a run had to stop, in one line, where that is not a fault of the program."""

import atexit
import contextlib
import errno
import gc
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from luss_mm.recipes.settings import did_you_mean_path

FIXES = {
    errno.ENOSPC: 'Free some space',
    errno.EDQUOT: 'Free some space, or have the quota raised',
    errno.EROFS: 'Set another work_dir, or mount it writable',
    errno.EMFILE: 'Raise the limit of open files (ulimit -n), or set a smaller num_workers',
}
# Of paths that are wrong from the beginning.
PATH_FIXES = {
    errno.EACCES: 'Change its permissions, or name another path',
    errno.EPERM: 'Change its permissions, or name another path',
    errno.ENOENT: 'Name one that is there',
    errno.EISDIR: 'Name a file',
    errno.ENOTDIR: 'A folder on its way is a file, name another path',
    errno.EEXIST: 'Name another path, or move it away',
    errno.ELOOP: 'Fix the link',
    errno.ENAMETOOLONG: 'Name a shorter one',
}
SHARED_MEMORY_FOLDER = '/dev/shm'
FULL = 1 << 20  # free bytes of a disk that counts as full
INTERRUPTED = 130  # status of a program that Ctrl-C has ended: 128 + SIGINT
GOES_ON = 'The same command then goes on where the run stopped.'
# torch's own words, from the workers of a data loader or from the process that they send to.
SHARED_MEMORY = re.compile(r'(?i)shared memory|/torch_\d+|\bshm\b|bus error')
KILLED_WORKER = re.compile(
    r'DataLoader worker \(pid\S* [\d, ]+\) (?:is killed|exited unexpectedly)'
)
# mmengine's words.
UNREGISTERED = re.compile(r'([\w.]+) is not in the (\S+ registry)\. Please check')
# gloo's and NCCL's words.
LOST_RANK = re.compile(
    r'(?i)connection closed by peer|connection reset|broken pipe|remote process exited|'
    r'timed out waiting .*ms for (?:recv|send)|connect\w* refused'
)
OWN_CODE = tuple(Path(__file__).resolve().parents[2] / folder for folder in ('luss_mm', 'tools'))
# A step of a traceback: file, and the line of the program.
STEP = re.compile(r'^ *File "(.+)", line \d+, in .+\n(?! *File ") +(.+)', re.MULTILINE)

# At its end Python looks at every object once more: with torch and mmseg 1.2 seconds of CPU time,
# up to 14 seconds after Ctrl-C on a busy machine.
atexit.register(gc.freeze)


@contextlib.contextmanager
def one_line_stops(work_dir: str | Path = '.') -> Iterator[None]:
    """Turn expected errors into a one-line exit message. Context manager or decorator of a `main`.

    A traceback stays where it is a fault of the program, and everywhere if the variable
    LUSS_MM_TRACEBACK is set.

    Raises:
        SystemExit: With the line, hence the status 1; after Ctrl-C with the status 130.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f'\ninterrupted. {GOES_ON}', file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        reason = explain_stop(error, work_dir)
        if reason is None or os.environ.get('LUSS_MM_TRACEBACK'):
            raise
        line = ' '.join(part.strip() for part in reason.splitlines())
        # What is deleted with the frames may have something to say, as torch's loaders do.
        traceback.clear_frames(error.__traceback__)
        raise SystemExit(f'error: {line}') from error


def explain_stop(error: BaseException, work_dir: str | Path = '.') -> str | None:
    """What ended a run for a mistake in the settings, a bad file, a disk that is full or the like.

    What this package raises on purpose names the thing and the fix. An error that it meets, as in
    another package, is explained only if the system names the file or the shortage.

    Args:
        error: That ended a run, also if it comes from a worker of a data loader.
        work_dir: Work directory of the run; its disk is looked at if the error names no file.

    Returns:
        What is wrong and the fix, or None if the traceback should be seen.
    """
    has_number = getattr(error, 'errno', None) is not None  # then the system's own words
    # The messages of our own classes name the thing and the fix.
    is_ours = type(error).__module__.partition('.')[0] == 'luss_mm'
    if is_ours or not has_number and _is_raised_by_us(error):
        text = _without_worker_traceback(error)
        is_missing = isinstance(error, FileNotFoundError)
        return text + did_you_mean_path(text.partition(': ')[0]) if is_missing else text
    if isinstance(error, KeyError) and (unknown := UNREGISTERED.search(str(error))):
        return f'type={unknown[1]!r}: not in the {unknown[2]}. Fix the type in the config.'
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
        if number in FIXES:
            return f'{file}: {os.strerror(number)}. {FIXES[number]}. {GOES_ON}'
        if number in PATH_FIXES and file is not None:
            near = did_you_mean_path(file) if number == errno.ENOENT else ''
            return f'{file}: {os.strerror(number)}. {PATH_FIXES[number]}.{near}'
    return None


def _is_raised_by_us(error: BaseException) -> bool:
    """Whether the innermost step of the traceback is a `raise` of this package or of its tools."""
    text = ''.join(traceback.format_tb(error.__traceback__))
    if isinstance(error.__cause__, Exception) and 'Remote' in type(error.__cause__).__name__:
        text += str(error.__cause__)  # from a process of a pool
    if str(error).startswith('Caught '):
        text += str(error)  # from a worker of a data loader
    steps = STEP.findall(text)
    if not steps or isinstance(error, (AssertionError, NotImplementedError)):
        return False
    file, line = steps[-1]
    return line.startswith('raise ') and any(map(Path(file).resolve().is_relative_to, OWN_CODE))


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
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if not text.startswith('Caught '):
        return text
    return text.strip().splitlines()[-1].partition(': ')[2]
