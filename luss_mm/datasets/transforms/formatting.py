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
    """

    def transform(self, results: dict) -> dict:
        """Pack results['img'] (BGR)."""
        rgb = np.ascontiguousarray(results['img'][..., ::-1].transpose(2, 0, 1))
        return dict(
            inputs=torch.from_numpy(rgb),
            index=results['sample_idx'],
            ori_shape=tuple(results['ori_shape']),
        )
