"""What hooks change in a model while it trains: queue, prototypes, targets and teacher."""

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmseg.registry import HOOKS

from luss_mm.engine.processes import bare_model
from luss_mm.models.balanced_assignment import prototype_use
from luss_mm.models.dssn_segmentor import DSSNSegmentor
from luss_mm.work_dir.run_folder import StageFolder


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

    def after_train(self, runner) -> None:
        """Write how evenly the prototypes are used, for the report."""
        if is_main_process() and _queue(runner).filled:
            counts = prototype_use(_head(runner), _queue(runner))
            StageFolder(runner.work_dir).write_prototype_use(counts.tolist())


def _queue(runner):
    return bare_model(runner).queue


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
    return bare_model(runner).head


@HOOKS.register_module()
class SelfTrainingHook(Hook):
    """Lets a model's own predictions count: `FoundModel`'s target, `FrozenSegmentor`'s check.

    Args:
        start: Share of the iterations that come before, in [0, 1]; 1: never.
    """

    def __init__(self, start: float) -> None:
        self.start = start

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Set or clear the model's `self_training`."""
        model = bare_model(runner)
        model.self_training = runner.iter >= self.start * runner.max_iters


@HOOKS.register_module()
class TeacherHook(Hook):
    """Builds the teacher of a `DSSNSegmentor` and updates it after each step of the optimiser.

    The teacher is built when the training begins: the model is on its device by then (mmengine's
    averages lose their tensors in a move), weights are loaded, and the optimiser, made before, does
    not know it. A resumed checkpoint brings its own teacher. With accumulated gradients there is
    one update a step, not one an iteration.
    """

    def before_train(self, runner) -> None:
        """Build the teacher.

        Raises:
            TypeError: If the model is no DSSNSegmentor.
            ValueError: If the model waits for an epoch that the training loop does not count.
        """
        model = bare_model(runner)
        if not isinstance(model, DSSNSegmentor):
            raise TypeError(f'TeacherHook needs a DSSNSegmentor, not a {type(model).__name__}')
        if model.strong_from_epoch and not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'strong_from_epoch={model.strong_from_epoch} needs epochs, which '
                f'{type(runner.train_loop).__name__} does not count: set by_epoch=True in '
                'train_cfg or strong_from_epoch=0'
            )
        if model.teacher is None:
            model.build_teacher()

    def before_train_epoch(self, runner) -> None:
        """Tell the model which epoch it is."""
        bare_model(runner).epoch = runner.epoch

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Tell the model which iteration it is."""
        bare_model(runner).iteration = runner.iter

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Average, if the optimiser made a step."""
        if runner.optim_wrapper.should_update():
            bare_model(runner).update_teacher()
