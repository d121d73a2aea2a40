"""What predicted ids are called, in the checkpoint and in pictures that mmseg draws."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from luss_mm.evaluation.cluster_names import name_of, run_names
from luss_mm.functional.label_codec import category_palette


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Puts names and colours of predicted ids where mmseg looks for them: `meta.dataset_meta`.

    A segmentor that learnt clusters gets the categories that they were matched to, or `cluster 3`;
    what the training data set names already stays.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Complete the meta information of a checkpoint."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = getattr(model, 'decode_head', None)
        meta = dict(checkpoint['meta'].get('dataset_meta') or {})
        if head is None or meta.get('classes'):
            return
        names = run_names(runner.work_dir)
        meta['classes'] = tuple(name_of(i, names) for i in range(head.num_classes))
        meta['palette'] = category_palette(head.num_classes).tolist()
        checkpoint['meta']['dataset_meta'] = meta


@HOOKS.register_module()
class PredictionVisualizationHook(SegVisualizationHook):
    """Draws predictions under the names of the checkpoint, see `ClassNamesHook`.

    mmseg's hook would give clusters the names of the tested data set's categories. Masks are drawn
    too where both have the same names.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._meta: dict = {}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the names."""
        self._meta = checkpoint.get('meta', {}).get('dataset_meta') or {}

    def after_val_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        """Draw the first prediction of every `interval`-th batch."""
        with self._named(outputs) as samples:
            super().after_val_iter(runner, batch_idx, data_batch, samples)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        """Draw every prediction."""
        with self._named(outputs) as samples:
            super().after_test_iter(runner, batch_idx, data_batch, samples)

    @contextmanager
    def _named(self, outputs: Sequence[SegDataSample]) -> Iterator[Sequence[SegDataSample]]:
        """What to draw, while the visualizer has the names of the predictions."""
        own = self._visualizer.dataset_meta or {}
        names = self._meta.get('classes')
        if not names or tuple(names) == tuple(own.get('classes') or ()):
            yield outputs
            return
        self._visualizer.dataset_meta = self._meta
        try:
            yield [
                SegDataSample(metainfo=sample.metainfo, pred_sem_seg=sample.pred_sem_seg)
                for sample in outputs
            ]
        finally:
            self._visualizer.dataset_meta = own
