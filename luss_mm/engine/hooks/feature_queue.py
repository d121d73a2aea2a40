"""When the feature queue is filled, and that it survives a restart."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS


@HOOKS.register_module()
class FeatureQueueHook(Hook):
    """Activates the model's feature queue from an epoch on and keeps it in the checkpoint.

    Args:
        start_epoch: First epoch (from 0) that fills the queue; it is used once it is full.
    """

    def __init__(self, start_epoch: int = 15) -> None:
        self.start_epoch = start_epoch

    def before_train_epoch(self, runner) -> None:
        """Switch the queue on or off."""
        _queue(runner).active = runner.epoch >= self.start_epoch

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the queue into the checkpoint."""
        checkpoint['feature_queue'] = _queue(runner).state()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the queue back when resuming; a new stage starts with an empty one."""
        if runner._resume and 'feature_queue' in checkpoint:
            _queue(runner).restore(checkpoint['feature_queue'])


def _queue(runner):
    return (runner.model.module if is_model_wrapper(runner.model) else runner.model).queue
