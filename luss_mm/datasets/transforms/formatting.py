"""Packing of single images for the steps between trainings."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """Keeps what feature extraction and label generation need, and nothing else.

    Sets:
        inputs: uint8 RGB tensor (3, h, w). index: of the sample. ori_shape: (H, W) of the file.
        class_label, gt_seg_map, loaded_image: where an earlier step set them.
    """

    OPTIONAL = ('class_label', 'gt_seg_map', 'loaded_image')

    def transform(self, results: dict) -> dict:
        """Pack results['img'] (BGR)."""
        rgb = np.ascontiguousarray(results['img'][..., ::-1].transpose(2, 0, 1))
        packed = dict(
            inputs=torch.from_numpy(rgb),
            index=results['sample_idx'],
            ori_shape=tuple(results['ori_shape']),
        )
        return packed | {key: results[key] for key in self.OPTIONAL if key in results}


@TRANSFORMS.register_module()
class KeepLoadedImage(BaseTransform):
    """Keeps the image as it is now, before it is resized, for a segmenter that works on pixels.

    Sets:
        loaded_image: uint8 RGB tensor (H, W, 3).
    """

    def transform(self, results: dict) -> dict:
        """Copy results['img'] (BGR)."""
        rgb = np.ascontiguousarray(results['img'][..., ::-1])
        results['loaded_image'] = torch.from_numpy(rgb)
        return results
