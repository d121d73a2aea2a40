"""A training that was asked to stop saves what it can."""

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import HOOKS

from luss_mm.work_dir.stop_request import stop, stop_asked_on_any_rank, stop_if_asked


@HOOKS.register_module()
class StopRequestHook(Hook):
    """Ends a training after the iteration during which SIGTERM came, see `stopping_on_sigterm`.

    Where iterations are counted, it saves a checkpoint first, and the same command goes on with
    the next iteration. Where epochs are counted, it cannot: batches of an epoch are drawn in one
    go, so the epoch begins anew from the checkpoint before it. `StagedRunner` registers it.
    """

    priority = 'LOWEST'  # the checkpoint hook has saved what it would have

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save and stop; the last iteration of an epoch leaves that to the epoch's end."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            self._stop_after_iteration(runner)
        elif batch_idx + 1 < len(runner.train_dataloader) and stop_asked_on_any_rank():
            stop(f'what epoch {runner.epoch + 1} has done is lost, kept is {_newest(runner)}')

    def after_train_epoch(self, runner) -> None:
        """Stop between epochs."""
        if not isinstance(runner.train_loop, IterBasedTrainLoop) and stop_asked_on_any_rank():
            stop(f'{_newest(runner)} is kept')

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop: scores are not kept halfway."""
        stop_if_asked(f'the validation begins anew, after {_newest(runner)}')

    def _stop_after_iteration(self, runner) -> None:
        if stop_asked_on_any_rank():
            saving = _checkpoint_hook(runner)
            if not saving.every_n_train_iters(runner, saving.interval):
                saving._save_checkpoint(runner)
            stop(f'{_newest(runner)} is kept')


def _checkpoint_hook(runner) -> CheckpointHook:
    return next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))


def _newest(runner) -> str:
    resumed = runner._load_from if runner._resume else None
    return _checkpoint_hook(runner).last_ckpt or resumed or 'the start of this stage'
