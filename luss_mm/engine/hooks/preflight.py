"""What would only show after hours is checked before the first iteration."""

import re

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS

from luss_mm.datasets import EpochSampler, LUSSDataset


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
            raise ValueError(
                f'the checkpoint lacks or misfits {len(missing)} of {len(wanted)} weights of '
                f'{" and ".join(parts)}, first {missing[0]}: set the backbone of the recipe to the '
                'one that was pretrained'
            )

    def before_train(self, runner) -> None:
        """Check the training data loader."""
        loader = runner.train_dataloader
        if len(loader) == 0:
            raise ValueError(
                f'{len(loader.dataset)} training images do not fill one batch of '
                f'{loader.batch_size} on {runner.world_size} ranks: set a smaller batch_size'
            )
        if not isinstance(loader.dataset, LUSSDataset) and _holds_luss_dataset(loader.dataset):
            raise ValueError(
                f'{type(loader.dataset).__name__} around a LUSSDataset hides the epoch, so every '
                'epoch would draw the same augmentations: list several folders in '
                'data_prefix.img_path instead'
            )
        if isinstance(loader.dataset, LUSSDataset) and not isinstance(loader.sampler, EpochSampler):
            raise ValueError(
                f'{type(loader.sampler).__name__} hides the epoch, so every epoch would draw the '
                "same augmentations: set train_dataloader.sampler.type='EpochSampler'"
            )


def _holds_luss_dataset(dataset: object) -> bool:
    """Whether a wrapper (mmengine's RepeatDataset, torch's Subset ...) has a LUSSDataset inside."""
    inner = [getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', ())]
    return any(isinstance(d, LUSSDataset) or (d and _holds_luss_dataset(d)) for d in inner)
