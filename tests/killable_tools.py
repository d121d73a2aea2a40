"""The real tools in processes that can be killed."""

import contextlib
import gc
import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

TRIALS = ('luss_mm.costs', 'luss_mm.recipes.trials')
REPOSITORY = Path(__file__).parent.parent
SECONDS = 300  # for one process
ENVIRONMENT = dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='passive', CUDA_VISIBLE_DEVICES='')

# Its processes start with everything imported, which takes seconds, and nothing else done.
# OMP_NUM_THREADS was read by then: conftest.py sets it.
_clean = multiprocessing.get_context('forkserver')
_clean.set_forkserver_preload(['luss_mm.registered'])


class Run:
    """A tool that runs, or ran, in a session of its own, so that a kill takes its workers along.

    Args:
        process: Leader of the session, of `subprocess` or `multiprocessing`.
        log: Its output.
    """

    def __init__(self, process, log):
        self.process = process
        self.log = Path(log)

    @property
    def output(self):
        # A kill may come before there is a log.
        return self.log.read_text() if self.log.exists() else ''

    def wait(self, seconds=SECONDS):
        """Exit status, negative for a signal; a process that hangs is killed."""
        if not self.ends_within(seconds):
            self.kill()
            raise TimeoutError(f'no end after {seconds} s:\n{self.output[-3000:]}')
        return getattr(self.process, 'exitcode', None) or getattr(self.process, 'returncode', 0)

    def ends_within(self, seconds):
        """Wait for the end; whether it came."""
        if isinstance(self.process, subprocess.Popen):
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
            return True
        self.process.join(seconds)
        return not self.process.is_alive()

    def kill(self):
        """SIGKILL to all of its processes; torchrun's ranks have sessions of their own."""
        for pid in [self.process.pid, *_descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.ends_within(SECONDS)

    def kill_when_exists(self, directory, pattern):
        """Kill as soon as a file exists."""
        end = time.monotonic() + SECONDS
        while not list(Path(directory).glob(pattern)):
            assert not self.ends_within(0.005), f'over before {pattern}:\n{self.output[-3000:]}'
            assert time.monotonic() < end, f'no {pattern}'
        self.kill()


def make_small_runs_quick():
    """Skip what a small run spends most of its time on, in this process and for good.

    mmengine has yapf lay out a config for every log, stage and checkpoint, and looks for a module
    of the name of every type that a registry lacks; the collector of garbage goes through all that
    was imported after every stage.
    """
    from mmengine.registry import registry
    from yapf.yapflib import yapf_api

    find = registry.get_object_from_string
    registry.get_object_from_string = lambda name: find(name) if '.' in name else None
    yapf_api.FormatCode = lambda text, **_: (text, True)
    gc.freeze()


def leave_out_pictures():
    """Draw no pictures of a run, which take longer than a small one."""
    from luss_mm.engine.hooks.results import PicturesHook

    PicturesHook.after_train = lambda *_: None


def start_tool(tool, *arguments, log, kill_at=None, quick=True):
    """Start `python TOOL ARGUMENTS` from the repository's root.

    Args:
        tool: Path of a script.
        *arguments: Of the script.
        log: Gets its output.
        kill_at: A function, as 'module.function' or 'module.Class.method', and the number of the
            call at whose beginning the process kills its whole session.
        quick: Whether configs are not laid out and pictures not drawn.
    """
    command = [str(tool), *map(str, arguments)]
    process = _clean.Process(target=_run_script, args=(command, str(log), kill_at, quick))
    process.start()
    return Run(process, log)


def run_tool(tool, *arguments, log, quick=True):
    """Run a tool to its end, as `start_tool`, and assert that it succeeded."""
    run = start_tool(tool, *arguments, log=log, quick=quick)
    assert run.wait() == 0, run.output[-3000:]
    return run.output


def start_command(*command, log, **environment):
    """Start a command line from the repository's root."""
    with open(log, 'wb') as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=REPOSITORY,
            env=os.environ | ENVIRONMENT | environment | dict(PATH=_path()),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Run(process, log)


def run_command(*command, log, **environment):
    """Run a command line to its end, as `start_command`, and assert that it succeeded."""
    run = start_command(*command, log=log, **environment)
    assert run.wait() == 0, run.output[-3000:]
    return run.output


def _descendants(pid):
    """Processes that a process has started, and those that these have."""
    children = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):  # over meanwhile
            # pid (name) state parent ...: the name may hold anything
            parent = int(stat.read_text().rpartition(')')[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(pid, ()))
    for child in found:
        found += children.get(child, ())
    return found


def _run_script(command, log, kill_at, quick):
    os.environ.update(ENVIRONMENT)
    os.setsid()
    os.chdir(REPOSITORY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    multiprocessing.set_start_method('fork', force=True)  # as in a process from the command line
    if quick:
        make_small_runs_quick()
        leave_out_pictures()
    if kill_at:
        _kill_on_call(*kill_at)
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).resolve().parent))
    runpy.run_path(command[0], run_name='__main__')


def _kill_on_call(function, number):
    *owner, name = function.split('.')
    holder = _find(owner)
    original = getattr(holder, name)
    calls = 0

    def replacement(*args, **kwargs):
        nonlocal calls
        calls += not _is_a_trial(sys._getframe())
        if calls == number:
            os.killpg(0, signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(holder, name, replacement)


def _is_a_trial(frame):
    """Whether the estimate or the check before a run called, which try steps of every stage."""
    while frame is not None:
        if frame.f_globals.get('__name__', '').startswith(TRIALS):
            return True
        frame = frame.f_back
    return False


def _find(parts):
    """A module, or a class in one."""
    try:
        return importlib.import_module('.'.join(parts))
    except ModuleNotFoundError:
        return getattr(_find(parts[:-1]), parts[-1])


def _path():
    """Search path that finds this Python's own scripts, torchrun among them."""
    return f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
