"""The visualizer of a finished stage, for mmseg's own tools and functions."""

from functools import cache
from typing import Any

from mmseg.registry import VISUALIZERS
from mmseg.visualization import SegLocalVisualizer

from luss_mm.datasets.mask_files import IGNORE_INDEX
from luss_mm.evaluation.cluster_names import name_of
from luss_mm.functional.label_codec import category_palette

MOST_IDS = 256  # that 8 bits hold


@VISUALIZERS.register_module()
class StageVisualizer(SegLocalVisualizer):
    """mmseg's visualizer, also for label maps of clusters, which have no names.

    It does not let mmseg's inferencer write label maps that 8 bits cut:
    `MMSegInferencer(..., out_dir=DIR)` saves ids as bytes, so that id 256 becomes 0. It draws each
    picture into a file before it saves the label map. mmseg's `browse_dataset.py` names a file too,
    but draws what the data set holds.
    """

    def add_datasample(
        self, *args: Any, draw_gt: bool = True, out_file: str | None = None, **kwargs: Any
    ) -> None:
        """Draw, see `SegLocalVisualizer`; without names of classes, `cluster 1` and so on.

        Raises:
            ValueError: If a file is named for a prediction and the model has more than 256 ids.
        """
        meta = self.dataset_meta or {}
        ids = len(meta.get('classes') or ())
        if out_file is not None and not draw_gt and ids > MOST_IDS:
            raise ValueError(
                f'out_dir: MMSegInferencer saves label maps of 8 bits, which cannot hold the {ids} '
                'ids of this model. Leave out_dir out and save what it returns, or run '
                'tools/infer.py, which writes id = R + 256 G.'
            )
        self.dataset_meta = meta if ids else meta | _clusters()
        try:
            super().add_datasample(*args, draw_gt=draw_gt, out_file=out_file, **kwargs)
        finally:
            self.dataset_meta = meta


@cache
def _clusters() -> dict[str, Any]:
    """Names and colours of all ids that a label map can hold."""
    names = tuple(name_of(i, {}) for i in range(IGNORE_INDEX))
    return dict(classes=names, palette=category_palette(IGNORE_INDEX).tolist())
