"""Label maps of images without masks, which say where the image is rather than padding."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MarkValidPixels(BaseTransform):
    """Gives an image without a mask a label map of zeros; comes after loading, before cropping.

    Geometric transforms move it along and pad it with the ignore index, so that padding never
    counts in a loss. A mask that was read for image tags alone is replaced as well.

    Sets:
        has_mask: Whether the image came with a mask to train on.
        gt_seg_map: Where it did not, zeros, int32 (h, w). seg_fields: with 'gt_seg_map'.
    """

    def transform(self, results: dict) -> dict:
        """Mark one image."""
        results['has_mask'] = 'gt_seg_map' in results and not results.get('mask_is_hidden', False)
        if not results['has_mask']:
            results['gt_seg_map'] = np.zeros(results['img'].shape[:2], dtype=np.int32)
            fields = results.setdefault('seg_fields', [])
            if 'gt_seg_map' not in fields:
                fields.append('gt_seg_map')
        return results
