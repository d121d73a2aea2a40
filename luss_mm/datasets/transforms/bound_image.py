"""The bound of `LoadBoundedImage` for images that another loader has read."""

from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from luss_mm.datasets.transforms.loading import bounded


@TRANSFORMS.register_module()
class BoundImage(BaseTransform):
    """Shrinks a loaded image if it is very large, as `LoadBoundedImage` does.

    Args:
        max_side: Bound on the longer side in pixels; None for no bound.

    Sets:
        img: uint8 BGR, shape (h, w, 3). img_shape: its (h, w). ori_shape stays that of the file.
    """

    def __init__(self, max_side: int | None = 2048) -> None:
        self.max_side = max_side

    def transform(self, results: dict) -> dict:
        """Bound results['img']."""
        results['img'] = image = bounded(results['img'], results['ori_shape'], self.max_side)
        results['img_shape'] = image.shape[:2]
        return results
