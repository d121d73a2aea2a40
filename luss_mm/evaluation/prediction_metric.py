"""Scores of models that predict several label maps of one image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

MAIN_PREDICTION = 'pred_sem_seg'


@METRICS.register_module()
class PredictionMetric(BaseMetric):
    """Any metric, applied to another label map than `pred_sem_seg`.

    Several of them may stand in one evaluator: their scores differ by the prefix, and so do the
    folders that they write to.

    Args:
        metric: Config of the metric. It reads the label map as `pred_sem_seg`.
        prediction: Field of the data samples that holds the label map, as 'pred_pseudo'.
        prefix: Put before the names of the scores ('<prefix>/mIoU').
        output_dir: Where the metric writes, into the folder `<prefix>`; None takes the metric's own
            `output_dir`, and if it has none nothing is written.
        collect_device: As in mmengine; not used, since the inner metric collects.
    """

    def __init__(
        self,
        metric: Mapping[str, Any],
        prediction: str,
        prefix: str,
        output_dir: str | None = None,
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        inner = dict(metric)
        if folder := output_dir or inner.get('output_dir'):
            inner['output_dir'] = str(Path(folder, prefix))
        self.metric: BaseMetric = METRICS.build(inner)
        self.prediction = prediction

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the data set, which is the inner metric's."""
        return self.metric.dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self.metric.dataset_meta = dataset_meta

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch.

        Args:
            data_batch: Passed on.
            data_samples: Dicts with the field `prediction`. They are not changed.

        Raises:
            ValueError: If a sample lacks the field, naming the predictions that it has.
        """
        renamed = [sample | {MAIN_PREDICTION: self._label_map(sample)} for sample in data_samples]
        self.metric.process(data_batch, renamed)

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of the inner metric under the prefix, the same on all ranks.

        Args:
            size: Number of images of the data set.
        """
        scores = self.metric.evaluate(size)
        return {f'{self.prefix}/{name}': value for name, value in scores.items()}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As the inner metric, without the prefix."""
        return self.metric.compute_metrics(results)

    def _label_map(self, sample: dict) -> dict:
        if self.prediction not in sample:
            found = sorted(name for name in sample if name.startswith('pred_'))
            raise ValueError(
                f'{sample.get("img_path", "an image")}: the model made no {self.prediction!r}, '
                f'only {", ".join(found) or "no prediction"}. Set `prediction` to one of them.'
            )
        return sample[self.prediction]
