"""A training whose loss is no number any more stops before it saves its weights."""

import math

from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from torch import Tensor


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
