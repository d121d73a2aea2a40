"""When DSSN's teacher is built and averaged."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop
from mmseg.registry import HOOKS

from luss_mm.models.dssn_segmentor import DSSNSegmentor


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
        model = _model(runner)
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
        _model(runner).epoch = runner.epoch

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Average, if the optimiser made a step."""
        if runner.optim_wrapper.should_update():
            _model(runner).update_teacher()


def _model(runner):
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
