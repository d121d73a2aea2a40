"""The tiny recipe shrunk to seconds, and what its work directories hold."""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from tests.killable_tools import run_tool, start_tool
from tests.left_over import left_over

RECIPE = 'configs/luss/pass_tiny.py'
TRAIN = 'tools/train.py'
STAGES = ('pretrain', 'attention', 'finetune')
MADE_BY_THE_LABEL_HOOK = ('features', 'clusters', 'threshold', 'pseudo_labels')
NUM_CATEGORIES = 7

# Three batches an epoch; in the second epoch the queues are full and prototypes move.
OPTIONS = {
    'stages.data.task.num_train': 48,
    'stages.data.task.num_validation': 13,
    'stages.data.task.image_size': 48,
    'backbone.base_channels': 8,
    'backbone.stem_channels': 8,
    'feature_channels': 32,
    'hidden_channels': 32,
    'embedding_channels': 16,
    'resize_side': 48,
    'crop_size': 48,
    'batch_size': 16,
    'finetune_batch_size': 16,
    'label_batch_size': 8,
    'shard_size': 8,
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
    'log_level': 'DEBUG',  # the terminal then shows every epoch, which tests look for
}

_directory = tempfile.TemporaryDirectory()


@functools.cache
def finished_run():
    """Work directory of an uninterrupted run. No test may change it."""
    work_dir = Path(_directory.name, 'finished')
    run_tool(TRAIN, *train_arguments(work_dir), log=work_dir.with_suffix('.log'), quick=False)
    return work_dir


def train(work_dir, quick=True, **options):
    """Run the small recipe to its end; returns the output."""
    arguments = train_arguments(work_dir, **options)
    return run_tool(TRAIN, *arguments, log=next_log(work_dir), quick=quick)


def start_training(work_dir, kill_at=None, quick=True, **options):
    """Start the small recipe."""
    arguments = train_arguments(work_dir, **options)
    return start_tool(TRAIN, *arguments, log=next_log(work_dir), kill_at=kill_at, quick=quick)


def train_arguments(work_dir, recipe=RECIPE, **options):
    """What follows tools/train.py on the command line.

    Args:
        work_dir: Of the run.
        recipe: Path of the config.
        **options: Settings beside or instead of those of OPTIONS, dots written as '__'; None leaves
            the recipe's own.
    """
    changed = {key.replace('__', '.'): value for key, value in options.items()}
    settings = OPTIONS | changed
    pairs = [f'{key}={value}' for key, value in settings.items() if value is not None]
    return [str(recipe), '--work-dir', str(work_dir), '--cfg-options', *pairs]


def next_log(work_dir):
    """Path of a log beside a work directory."""
    taken = len(list(work_dir.parent.glob(f'{work_dir.name}.*.log')))
    return work_dir.with_name(f'{work_dir.name}.{taken}.log')


def copy_run(source, target):
    """A copy of a work directory."""
    return Path(shutil.copytree(source, target))


def final_scores(work_dir):
    """Metrics of the fine-tuned model in percent."""
    return json.loads((work_dir / 'finetune' / 'metrics.json').read_text())['metrics']


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


def assert_same_weights(first, second, stage):
    """A stage's final weights are equal bit for bit."""
    ours, theirs = weights(first, stage), weights(second, stage)
    assert ours.keys() == theirs.keys()
    different = [key for key in ours if not torch.equal(ours[key], theirs[key])]
    assert not different, f'{stage}: {different}'


def assert_same_run(first, second):
    """Weights of all stages, clusters, label maps, scores and matching; nothing is left over."""
    assert not left_over(second)
    for stage in STAGES:
        assert_same_weights(first, second, stage)
    assert_same_clusters(first, second)
    assert_same_label_maps(first, second)
    assert final_scores(first) == final_scores(second)
    for name in ('match.json', 'scores.json'):
        ours, theirs = ((r / 'finetune/evaluation' / name).read_text() for r in (first, second))
        assert ours == theirs


def closing_lines(output):
    """What a run says at its end."""
    return output[output.index('finished: ') :]


def trainings(output):
    """(stage, epoch) of every epoch that an output tells of."""
    found, stage = [], None
    for line in output.splitlines():
        if ' - stage ' in line:
            stage = line.split(': ')[-1]
        elif 'Epoch(train)' in line and '[1/3]' in line:
            found.append((stage, int(line.split('[')[1].split(']')[0])))
    return found


def scores_in(directory):
    """What the metric wrote into a directory, as in `final_scores`."""
    written = json.loads((directory / 'scores.json').read_text())
    sizes = [band + size for band in ('', 'B') for size in ('S', 'MS', 'ML', 'L')]
    names = ['mIoU', 'b-mIoU', 'ImgAcc', 'F-beta', *sizes]
    return {name: written[name] for name in names if written[name] is not None}
