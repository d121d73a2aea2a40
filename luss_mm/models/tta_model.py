"""Test-time augmentation of segmentors that keep no logits unless they are asked to."""

from typing import Any

from mmseg.models import SegTTAModel
from mmseg.registry import MODELS

from luss_mm.models.luss_segmentor import LUSSSegmentor


@MODELS.register_module()
class LUSSTTAModel(SegTTAModel):
    """mmseg's SegTTAModel that asks a `LUSSSegmentor` for its logits.

    Args:
        module: Config of a segmentor, as mmseg's `tools/test.py --tta` sets it, or the segmentor.
        **kwargs: As `SegTTAModel`.
    """

    def __init__(self, module: Any, **kwargs: Any) -> None:
        super().__init__(module, **kwargs)
        if isinstance(self.module, LUSSSegmentor):
            self.module.seg_logits = True
