"""What keeps a training right: checks before it, its random numbers, its losses and its end."""

import logging
import math
import random
import re

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmseg.evaluation import IoUMetric
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import HOOKS
from torch import Tensor, nn

from luss_mm.datasets import (
    EpochSampler,
    IterationSampler,
    SemiDataset,
    SemiSampler,
)
from luss_mm.datasets.mask_files import IGNORE_INDEX
from luss_mm.engine.hooks.results import MOST_IDS
from luss_mm.engine.processes import bare_model
from luss_mm.evaluation.metrics import MMSEG_IGNORE_INDEX
from luss_mm.packaged_weights import checkpoint_file
from luss_mm.work_dir.stop_request import stop, stop_asked_on_any_rank, stop_if_asked

EPOCH_SAMPLERS = (EpochSampler, IterationSampler)
TRAIN_HEAD = (
    "name weights that pretraining has written, or put 'projection' into stage_order before it"
)


@HOOKS.register_module()
class PreflightHook(Hook):
    """Refuses a training that cannot work, and label maps that would be written wrongly.

    Raises:
        ValueError: Naming the setting and its fix.
    """

    priority = 'HIGHEST'

    def before_run(self, runner) -> None:
        """Refuse mmseg's metric where it would cut ids without a word."""
        for loop in (runner._val_loop, runner._test_loop):  # the properties would build them
            metrics = loop.evaluator.metrics if isinstance(loop, BaseLoop) else []
            for metric in metrics:
                _refuse_cut_ids(getattr(metric, 'metric', metric), bare_model(runner))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse weights that leave pretrained parts at random, which mmengine only logs."""
        model = bare_model(runner)
        given = checkpoint.get('state_dict', checkpoint)
        given = {re.sub(r'^module\.', '', name): value for name, value in given.items()}
        parts = getattr(model, 'pretrained_parts', ('backbone',))
        wanted = {n: v for n, v in model.state_dict().items() if n.split('.')[0] in parts}
        missing = [n for n, v in wanted.items() if n not in given or given[n].shape != v.shape]
        if missing:
            only_head = all(name.startswith('head.') for name in missing)
            fix = 'set the backbone of the recipe to the one that was pretrained'
            raise ValueError(
                f'the checkpoint lacks or misfits {len(missing)} of {len(wanted)} weights of '
                f'{" and ".join(parts)}, first {missing[0]}: {TRAIN_HEAD if only_head else fix}'
            )

    def before_train(self, runner) -> None:
        """Check the training data loader, and which id the model ignores."""
        loader = runner.train_dataloader
        if len(loader) == 0:
            raise ValueError(
                f'{len(loader.dataset)} training images do not fill one batch of '
                f'{loader.batch_size} on {runner.world_size} ranks: set a smaller batch_size'
            )
        if isinstance(loader.dataset, SemiDataset) != isinstance(loader.sampler, SemiSampler):
            raise ValueError(
                f'{type(loader.dataset).__name__} and {type(loader.sampler).__name__} do not go '
                'together: SemiDataset needs SemiSampler, and no other data set does'
            )
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        if isinstance(loader.sampler, IterationSampler) and not by_iteration:
            raise ValueError(
                'IterationSampler never ends an epoch: train by iterations, or set '
                "train_dataloader.sampler.type='EpochSampler'"
            )
        _refuse_ignored_category(bare_model(runner))
        if not isinstance(loader.sampler, (*EPOCH_SAMPLERS, SemiSampler)):
            better = IterationSampler if by_iteration else EpochSampler
            print_log(
                f'{type(loader.sampler).__name__} tells no epoch, so augmentations are drawn '
                'freely and a resumed run draws others than an uninterrupted one. Set '
                f'train_dataloader.sampler.type={better.__name__!r} for exact repetition.',
                'current',
                logging.WARNING,
            )


def _refuse_cut_ids(metric: BaseMetric, model: nn.Module) -> None:
    """Refuse a metric of mmseg that is to write more ids than its 8 bits hold."""
    if not isinstance(metric, IoUMetric) or metric.output_dir is None:
        return
    segmentor = getattr(model, 'module', model)  # of test-time augmentation
    names = (metric.dataset_meta or {}).get('classes') or ()
    ids = max(len(names), getattr(segmentor, 'num_classes', 0))
    if ids > MOST_IDS:
        raise ValueError(
            f'output_dir={metric.output_dir!r}: IoUMetric writes label maps of 8 bits, which '
            f'cannot hold {ids} ids. Leave output_dir (tools/test.py --out) out, or set type='
            "'UnsupervisedIoUMetric' or 'CategoryIoUMetric', which write id = R + 256 G"
        )


def _refuse_ignored_category(model: nn.Module) -> None:
    """Refuse mmseg's default of ignored pixels where that is a category like any other."""
    heads = (found for found in model.named_modules() if isinstance(found[1], BaseDecodeHead))
    ignored = {f'{name}.ignore_index': head.ignore_index for name, head in heads}
    preprocessor = getattr(model, 'data_preprocessor', None)
    ignored['data_preprocessor.seg_pad_val'] = getattr(preprocessor, 'seg_pad_val', None)
    for key, value in ignored.items():
        if value == MMSEG_IGNORE_INDEX < getattr(model, 'num_classes', 0):
            raise ValueError(
                f"model.{key}={value}, mmseg's default, is one of the {model.num_classes} ids: set "
                f'it to {IGNORE_INDEX}, which label maps and masks of this package ignore'
            )


@HOOKS.register_module()
class PretrainedWeightsHook(Hook):
    """Refuses a training whose files from elsewhere are missing.

    Args:
        files: {setting that names it: path, or `package:name`}. Addresses (https://...) are not
            looked up.
    """

    def __init__(self, files: dict[str, str | None]) -> None:
        self.files = dict(files)

    def check(self) -> None:
        """Look for the files; `engine.data_check` calls this.

        Raises:
            FileNotFoundError: Naming the setting and the fix.
            ValueError: If a setting names no file at all.
        """
        for setting, path in self.files.items():
            if not isinstance(path, str):
                raise ValueError(
                    f'{setting}={path!r}: this training starts from weights. Name their file, or '
                    'leave out init_cfg of the backbone in a config of your own'
                )
            if '://' not in path and not checkpoint_file(path).is_file():
                raise FileNotFoundError(
                    f'{path}: no such file. Set {setting} to a file that '
                    'tools/convert_checkpoint.py or an earlier training has written'
                )


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseeds all generators: at the first iteration of every epoch, or at every iteration.

    The latter in iteration-based training, which knows no epochs and may resume anywhere. mmengine
    saves no generator states, so without this a resumed run would draw other numbers. The
    reseeding waits until the data loader has drawn its own seed: whether it does so depends on
    whether its workers are still alive.
    """

    priority = 'VERY_HIGH'
    by_iteration = False

    def before_train(self, runner) -> None:
        """See which kind of training this is."""
        self.by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Reseed if the epoch begins, or in any case where iterations are counted."""
        if not self.by_iteration and batch_idx != 0:
            return
        number = runner.iter if self.by_iteration else runner.epoch
        words = np.random.SeedSequence([runner.seed, number, runner.rank]).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(int(words[1]))
        torch.manual_seed(int(words[2]))


class InfiniteLossError(FloatingPointError):
    """A loss is NaN or infinite."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops at the first NaN or infinite loss, before the checkpoint hook runs.

    Costs nothing to speak of: mmengine has fetched the losses for its log by then.

    Raises:
        InfiniteLossError: Naming the iteration and all losses.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Look at the losses of this iteration."""
        # What mmengine itself takes for a loss; other values of a log may well be NaN.
        losses = {name: _number(v) for name, v in (outputs or {}).items() if 'loss' in name}
        if not all(math.isfinite(value) for value in losses.values()):
            shown = ', '.join(f'{name} {value:g}' for name, value in losses.items())
            raise InfiniteLossError(
                f'iteration {runner.iter + 1} of epoch {runner.epoch + 1}: {shown}. No checkpoint '
                'holds these weights. Set a smaller learning rate of this stage, or amp=False, and '
                'run the same command.'
            )


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)


@HOOKS.register_module()
class StopRequestHook(Hook):
    """Ends a training after the iteration during which SIGTERM came, see `stopping_on_sigterm`.

    Where iterations are counted, it saves a checkpoint first, and the same command goes on with
    the next iteration. Where epochs are counted, it cannot: batches of an epoch are drawn in one
    go, so the epoch begins again from the checkpoint before it. `StagedRunner` registers it.
    """

    priority = 'LOWEST'  # the checkpoint hook has saved what it would have

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save and stop; the last iteration of an epoch leaves that to the epoch's end."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            self._stop_after_iteration(runner)
        elif batch_idx + 1 < len(runner.train_dataloader) and stop_asked_on_any_rank():
            stop(f'what epoch {runner.epoch + 1} has done is lost, kept is {_newest(runner)}')

    def after_train_epoch(self, runner) -> None:
        """Stop between epochs."""
        if not isinstance(runner.train_loop, IterBasedTrainLoop) and stop_asked_on_any_rank():
            stop(f'{_newest(runner)} is kept')

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop: scores are not kept halfway."""
        stop_if_asked(f'the validation begins again, after {_newest(runner)}')

    def _stop_after_iteration(self, runner) -> None:
        if stop_asked_on_any_rank():
            saving = _checkpoint_hook(runner)
            if not saving.every_n_train_iters(runner, saving.interval):
                saving._save_checkpoint(runner)
            stop(f'{_newest(runner)} is kept')


def _checkpoint_hook(runner) -> CheckpointHook:
    return next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))


def _newest(runner) -> str:
    resumed = runner._load_from if runner._resume else None
    return _checkpoint_hook(runner).last_ckpt or resumed or 'the start of this stage'
