"""What would only show after hours is checked before the first iteration."""

from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from luss_mm.datasets import EpochSampler, LUSSDataset


@HOOKS.register_module()
class PreflightHook(Hook):
    """Refuses a training that cannot work.

    Raises:
        ValueError: Naming the setting and its mend.
    """

    priority = 'HIGHEST'

    def before_train(self, runner) -> None:
        """Check the training data loader."""
        loader = runner.train_dataloader
        if len(loader) == 0:
            raise ValueError(
                f'{len(loader.dataset)} training images do not fill one batch of '
                f'{loader.batch_size} on {runner.world_size} ranks: set a smaller batch_size'
            )
        if isinstance(loader.dataset, LUSSDataset) and not isinstance(loader.sampler, EpochSampler):
            raise ValueError(
                f'{type(loader.sampler).__name__} hides the epoch, so every epoch would draw the '
                "same augmentations: set train_dataloader.sampler.type='EpochSampler'"
            )
