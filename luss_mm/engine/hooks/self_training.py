"""When the foreground head of FOUND begins to learn from itself."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS


@HOOKS.register_module()
class SelfTrainingHook(Hook):
    """Switches `FoundModel` to its own foreground as target.

    Args:
        start: Share of the iterations that come before, in [0, 1]; 1: never.
    """

    def __init__(self, start: float) -> None:
        self.start = start

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Set or clear the model's `self_training`."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.self_training = runner.iter >= self.start * runner.max_iters
