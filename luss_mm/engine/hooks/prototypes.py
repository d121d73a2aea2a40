"""Prototypes stay on the unit sphere and rest at the beginning of training."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS


@HOOKS.register_module()
class PrototypesHook(Hook):
    """Normalises the prototypes before every step and freezes them for the first iterations.

    Args:
        frozen_iters: Iterations in which the prototypes get no update (S50: 1001, else 5005).
    """

    def __init__(self, frozen_iters: int = 0) -> None:
        self.frozen_iters = frozen_iters
        self._frozen = False

    def before_train(self, runner) -> None:
        """Let the optimiser skip the prototypes while they are frozen.

        Their gradient is dropped between backward and step: with weight decay and momentum a
        gradient of zero would still move them.
        """
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: self._drop_gradient(_head(runner))
        )

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Normalise."""
        self._frozen = runner.iter < self.frozen_iters
        _head(runner).normalize_prototypes()

    def _drop_gradient(self, head) -> None:
        if self._frozen:
            head.prototypes.weight.grad = None


def _head(runner):
    return (runner.model.module if is_model_wrapper(runner.model) else runner.model).head
