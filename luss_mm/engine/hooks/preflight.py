"""What would only show after hours is checked before the first iteration."""

import re

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import HOOKS

from luss_mm.datasets import (
    EpochSampler,
    IterationSampler,
    SeededDataset,
    SemiDataset,
    SemiSampler,
)

SEEDED = (SeededDataset, SemiDataset)
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
        if not isinstance(loader.dataset, SEEDED) and (inner := _find_seeded(loader.dataset)):
            raise ValueError(
                f'{type(loader.dataset).__name__} around a {inner} hides the epoch, so every '
                'epoch would draw the same augmentations: list several folders in '
                'data_prefix.img_path instead'
            )
        samplers = (SemiSampler,) if isinstance(loader.dataset, SemiDataset) else EPOCH_SAMPLERS
        if isinstance(loader.dataset, SEEDED) and not isinstance(loader.sampler, samplers):
            raise ValueError(
                f'{type(loader.sampler).__name__} hides the epoch, so every epoch would draw the '
                f'same augmentations: set train_dataloader.sampler.type={samplers[0].__name__!r}'
            )
        if isinstance(loader.sampler, IterationSampler) and not isinstance(
            runner.train_loop, IterBasedTrainLoop
        ):
            raise ValueError(
                'IterationSampler never ends an epoch: train by iterations, or set '
                "train_dataloader.sampler.type='EpochSampler'"
            )


def _find_seeded(dataset: object) -> str | None:
    """Type of a seeded data set inside a wrapper (mmengine's RepeatDataset, torch's Subset ...)."""
    for inner in (getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', ())):
        if isinstance(inner, SEEDED):
            return type(inner).__name__
        if inner is not None and (found := _find_seeded(inner)):
            return found
    return None
