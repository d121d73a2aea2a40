"""The tiny recipe shrunk to seconds, run by the real tools in processes that can be killed."""

import importlib
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config

REPOSITORY = Path(__file__).parent.parent
RECIPE = 'configs/luss/pass_tiny.py'
TRAIN = 'tools/train.py'
SECONDS = 300  # for one process
STAGES = ('pretrain', 'attention', 'finetune')

# Three batches an epoch; in the second epoch the queues are full and prototypes move.
OPTIONS = {
    'stages.data.task.num_train': 48,
    'stages.data.task.num_validation': 13,
    'stages.data.task.image_size': 48,
    'backbone.base_channels': 8,
    'backbone.stem_channels': 8,
    'hidden_channels': 32,
    'embedding_channels': 16,
    'resize_side': 48,
    'crop_size': 48,
    'batch_size': 16,
    'finetune_batch_size': 16,
    'label_batch_size': 8,
    'pretrain_epochs': 2,
    'pretrain_views.0.size': 32,
    'pretrain_views.1.size': 24,
    'num_prototypes': 10,
    'queue_length': 32,
    'queue_start_epoch': 0,
    'frozen_prototype_iters': 2,
    'attention_epochs': 2,
    'attention_views.0.size': 32,
    'attention_queue_length': 32,
    'kmeans_restarts': 2,
    'finetune_epochs': 3,
    'finetune_lr': 0.05,
    'num_workers': 1,
    'checkpoint_interval': 1,
    'default_hooks.logger.interval': 1,
}
ENVIRONMENT = dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='passive', CUDA_VISIBLE_DEVICES='')

# Its processes start with everything imported, which takes seconds, and nothing else done.
_clean = multiprocessing.get_context('forkserver')
_clean.set_forkserver_preload(['luss_mm'])


class Run:
    """A tool that runs, or ran, in a session of its own, so that a kill takes its workers along.

    Args:
        process: Leader of the session.
        log: Its output.
    """

    def __init__(self, process, log):
        self.process = process
        self.log = Path(log)

    @property
    def output(self):
        return self.log.read_text()

    @property
    def exit_status(self):
        return self.process.exitcode

    def wait(self, seconds=SECONDS):
        """Exit status; a process that hangs is killed."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()
            raise TimeoutError(f'no end after {seconds} s:\n{self.output[-3000:]}')
        return self.process.exitcode

    def kill(self):
        """SIGKILL to the tool and its loading workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()

    def kill_when_exists(self, directory, pattern):
        """Kill as soon as a file exists."""
        end = time.monotonic() + SECONDS
        while not list(Path(directory).glob(pattern)):
            assert self.process.is_alive(), f'ended before {pattern}:\n{self.output[-3000:]}'
            assert time.monotonic() < end, f'no {pattern}'
            time.sleep(0.005)
        self.kill()


def start_tool(tool, *arguments, log, kill_at=None):
    """Start `python TOOL ARGUMENTS` from the repository's root.

    Args:
        tool: Path of a script.
        *arguments: Of the script.
        log: Gets its output.
        kill_at: A function, as 'module.function' or 'module.Class.method', and the number of the
            call at whose beginning the process kills its whole session.
    """
    # One process serves all tests and hands its own environment down.
    os.environ.update(ENVIRONMENT)
    command = [str(tool), *map(str, arguments)]
    process = _clean.Process(target=_run_script, args=(command, str(log), kill_at))
    process.start()
    return Run(process, log)


def run_tool(tool, *arguments, log):
    """Run a tool to its end, as `start_tool`, and assert that it succeeded."""
    run = start_tool(tool, *arguments, log=log)
    assert run.wait() == 0, run.output[-3000:]
    return run.output


def train(work_dir, **options):
    """Run the small recipe to its end; returns the output."""
    return run_tool(TRAIN, *train_arguments(work_dir, **options), log=next_log(work_dir))


def start_training(work_dir, kill_at=None, **options):
    """Start the small recipe."""
    arguments = train_arguments(work_dir, **options)
    return start_tool(TRAIN, *arguments, log=next_log(work_dir), kill_at=kill_at)


def train_arguments(work_dir, recipe=RECIPE, **options):
    """What follows tools/train.py on the command line.

    Args:
        work_dir: Of the run.
        recipe: Path of the config.
        **options: Settings beside or instead of those of OPTIONS, dots written as '__'; None leaves
            the recipe's own.
    """
    changed = {key.replace('__', '.'): value for key, value in options.items()}
    settings = OPTIONS | options_of_recipe() | changed
    pairs = [f'{key}={value}' for key, value in settings.items() if value is not None]
    return [str(recipe), '--work-dir', str(work_dir), '--cfg-options', *pairs]


def options_of_recipe():
    """Options that depend on what the recipe says: six shards rather than one; the channels."""
    recipe = Config.fromfile(REPOSITORY / RECIPE)
    hooks = [hook.type for hook in recipe.stages.finetune.custom_hooks]
    shard_size = f'stages.finetune.custom_hooks.{hooks.index("PseudoLabelHook")}.shard_size'
    channels = OPTIONS['backbone.base_channels'] * 2 ** (recipe.backbone.num_stages - 1)
    return {shard_size: 8, 'feature_channels': channels}


def run_command(*command, log, **environment):
    """Run a command line from the repository's root; returns the output.

    Raises:
        AssertionError: If it fails.
    """
    with open(log, 'wb') as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=REPOSITORY,
            env=os.environ | ENVIRONMENT | environment | dict(PATH=_path()),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    output = Path(log).read_text()
    assert status == 0, output[-3000:]
    return output


def next_log(work_dir):
    """Path of a log beside a work directory."""
    taken = len(list(work_dir.parent.glob(f'{work_dir.name}.*.log')))
    return work_dir.with_name(f'{work_dir.name}.{taken}.log')


def copy_run(source, target):
    """A copy of a work directory."""
    return Path(shutil.copytree(source, target))


def final_scores(work_dir):
    """Metrics of the fine-tuned model in percent."""
    return json.loads((work_dir / 'finetune' / 'scores.json').read_text())['metrics']


def weights(work_dir, stage):
    """State dict of a finished stage."""
    return torch.load(work_dir / stage / 'final.pth', weights_only=False)['state_dict']


def label_maps(work_dir):
    """Relative paths to pixels, read without the package."""
    folder = work_dir / 'pseudo_labels'
    paths = sorted(folder.rglob('*.png'))
    return {str(path.relative_to(folder)): cv2.imread(str(path)) for path in paths}


def assert_same_clusters(first, second):
    """Embeddings, centroids, assignment and threshold are equal bit for bit."""
    for name in ('features/embeddings', 'clusters/centroids', 'clusters/assignment'):
        ours, theirs = (np.load(run / f'{name}.npy') for run in (first, second))
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    ours, theirs = ((r / 'threshold' / 'threshold.json').read_text() for r in (first, second))
    assert ours == theirs


def assert_same_label_maps(first, second):
    """The label maps are equal, and so are their names."""
    ours, theirs = label_maps(first), label_maps(second)
    assert ours.keys() == theirs.keys()
    for path, pixels in ours.items():
        np.testing.assert_array_equal(pixels, theirs[path], err_msg=path)


def assert_same_run(first, second):
    """Weights of all stages, clusters, label maps, predictions' scores and matching are equal."""
    for stage in STAGES:
        ours, theirs = weights(first, stage), weights(second, stage)
        assert ours.keys() == theirs.keys()
        different = [key for key in ours if not torch.equal(ours[key], theirs[key])]
        assert not different, f'{stage}: {different}'
    assert_same_clusters(first, second)
    assert_same_label_maps(first, second)
    assert final_scores(first) == final_scores(second)
    for name in ('match.json', 'scores.json'):
        ours, theirs = ((r / 'finetune/evaluation' / name).read_text() for r in (first, second))
        assert ours == theirs


def _run_script(command, log, kill_at):
    os.setsid()
    os.chdir(REPOSITORY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    multiprocessing.set_start_method('fork', force=True)  # as in a process from the command line
    if kill_at:
        _kill_on_call(*kill_at)
    sys.argv = command
    sys.path[0] = str(Path(command[0]).resolve().parent)
    runpy.run_path(command[0], run_name='__main__')


def _kill_on_call(function, number):
    *owner, name = function.split('.')
    holder = _find(owner)
    original = getattr(holder, name)
    calls = 0

    def replacement(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == number:
            os.killpg(0, signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(holder, name, replacement)


def _find(parts):
    """A module, or a class in one."""
    try:
        return importlib.import_module('.'.join(parts))
    except ModuleNotFoundError:
        return getattr(_find(parts[:-1]), parts[-1])


def _path():
    """Search path that finds this Python's own scripts, torchrun among them."""
    return f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
