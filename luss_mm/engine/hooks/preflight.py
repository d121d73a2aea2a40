"""What would only show after hours is checked before the first iteration."""

import logging
import re

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import HOOKS

from luss_mm.datasets import (
    EpochSampler,
    IterationSampler,
    SemiDataset,
    SemiSampler,
)

EPOCH_SAMPLERS = (EpochSampler, IterationSampler)
TRAIN_HEAD = (
    "name weights that pretraining has written, or put 'projection' into stage_order before it"
)


@HOOKS.register_module()
class PreflightHook(Hook):
    """Refuses a training that cannot work.

    Raises:
        ValueError: Naming the setting and its mend.
    """

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse weights that leave pretrained parts at random, which mmengine only logs."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
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
        """Check the training data loader."""
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
        if not isinstance(loader.sampler, (*EPOCH_SAMPLERS, SemiSampler)):
            better = IterationSampler if by_iteration else EpochSampler
            print_log(
                f'{type(loader.sampler).__name__} tells no epoch, so augmentations are drawn '
                'freely and a resumed run draws others than an uninterrupted one. Set '
                f'train_dataloader.sampler.type={better.__name__!r} for exact repetition.',
                'current',
                logging.WARNING,
            )
