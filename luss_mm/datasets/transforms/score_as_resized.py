"""Scoring at the size that images are resized and cropped to, as PiCIE and STEGO do it."""

from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ScoreAsResized(BaseTransform):
    """Takes the present size for that of the file, so that predictions have the mask's size.

    mmseg resizes predictions to `ori_shape`. After `LoadAnnotations`, `ResizeShortSide` and
    `CenterCrop` the mask has another size.

    Sets:
        ori_shape: (h, w) of the image as it is.
    """

    def transform(self, results: dict) -> dict:
        """Set results['ori_shape']."""
        results['ori_shape'] = results['img'].shape[:2]
        return results
