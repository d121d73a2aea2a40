"""The finished model is always scored, and the score is written down."""

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from luss_mm.work_dir.run_folder import StageFolder


@HOOKS.register_module()
class FinalValidationHook(Hook):
    """Writes the latest scores, and validates after training if that has not happened yet.

    A kill between the last checkpoint and its validation would otherwise leave a finished training
    without a score: the resumed loop has no epoch left that would validate.
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self._validated_iter: int | None = None

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Write the scores."""
        self._validated_iter = runner.iter
        if is_main_process():
            StageFolder(runner.work_dir).write_metrics(runner.epoch, runner.iter, metrics)

    def after_train(self, runner) -> None:
        """Validate if the final model has no score."""
        if runner.val_loop is not None and self._validated_iter != runner.iter:
            runner.val_loop.run()
