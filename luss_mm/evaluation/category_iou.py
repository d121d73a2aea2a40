"""The scores of protocols in which predicted ids are category ids already."""

from mmseg.registry import METRICS

from luss_mm.evaluation.cluster_matching import ClusterMatching, category_ids
from luss_mm.evaluation.unsupervised_iou import UnsupervisedIoUMetric


@METRICS.register_module()
class CategoryIoUMetric(UnsupervisedIoUMetric):
    """`UnsupervisedIoUMetric` without matching: the semi-supervised and the free protocol.

    Args:
        num_categories: C, categories without "others".
        **kwargs: As `UnsupervisedIoUMetric`, except num_clusters, matching, match and background.
    """

    def __init__(
        self,
        num_categories: int,
        ignore_index: int | None = None,
        output_dir: str | None = None,
        save_predictions: bool = False,
        boundary_ratio: float = 0.03,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        keep_results: bool = False,
    ) -> None:
        super().__init__(
            num_categories,
            num_categories,
            ignore_index=ignore_index,
            output_dir=output_dir,
            save_predictions=save_predictions,
            boundary_ratio=boundary_ratio,
            collect_device=collect_device,
            prefix=prefix,
            keep_results=keep_results,
        )

    def _refuse_missing_background(self, first: str) -> None:
        """Nothing is matched: the first class is scored as it is, whatever its name."""

    def _new_matching(self) -> ClusterMatching:
        return category_ids(self._category_count())
