"""How far a training is, in one line on the terminal."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmseg.registry import HOOKS

from luss_mm.terminal import Progress

RECENT = 20  # iterations whose loss is averaged
FIGURES = 4  # of a validation that are shown


@HOOKS.register_module()
class TrainingProgressHook(Hook):
    """Tells how many images a training has seen, its rate, loss and the time left.

    `StagedRunner` registers it; the log file has mmengine's own lines.

    Args:
        title: Of the training.
    """

    priority = 'LOW'  # the loss of the iteration is known

    def __init__(self, title: str) -> None:
        self.title = title

    def before_train(self, runner) -> None:
        """Begin, or go on where a resumed training is."""
        self.batch = (runner.train_dataloader.batch_size or 1) * runner.world_size
        self.progress = Progress(
            self.title, runner.max_iters * self.batch, done=runner.iter * self.batch
        )

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count the images of the batch."""
        loss = runner.message_hub.log_scalars.get('train/loss')
        note = f', loss {loss.mean(RECENT):.4g}' if loss is not None else ''
        self.progress.advance(self.batch, note)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Show the first figures of a validation in the course of the training."""
        if runner.iter < runner.max_iters and metrics:
            self._show(runner, list(metrics.items())[:FIGURES])

    def _show(self, runner, figures: Sequence[tuple[str, float]]) -> None:
        shown = ', '.join(f'{name} {value:.2f}' for name, value in figures)
        print_log(f'{shown} after {runner.iter} steps', logger='current')
