"""Batches of several views to normalised, stacked batches on the device."""

from collections.abc import Mapping
from typing import Any

from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS

IGNORE_INDEX = 1000


@MODELS.register_module()
class SemiPreprocessor(SegDataPreProcessor):
    """mmseg's SegDataPreProcessor for each view of a batch of `collate_views`.

    Args:
        *args: As `SegDataPreProcessor`.
        seg_pad_val: Id of padded pixels: the ignore_index.
        **kwargs: As `SegDataPreProcessor`.
    """

    def __init__(self, *args: object, seg_pad_val: int = IGNORE_INDEX, **kwargs: object) -> None:
        super().__init__(*args, seg_pad_val=seg_pad_val, **kwargs)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepare a batch.

        Args:
            data: `inputs`: {view: list of uint8 BGR images (3, h, w)}, `data_samples`: {view: list
                of samples}; or a plain batch as for `SegDataPreProcessor`.
            training: Pad to `size` rather than as `test_cfg` says.

        Returns:
            `inputs`: {view: float32 (B, 3, H, W)}, `data_samples`: {view: list of samples}; of a
            plain batch what `SegDataPreProcessor` returns.
        """
        if not isinstance(data['inputs'], Mapping):
            return super().forward(data, training)
        views = {
            name: super(SemiPreprocessor, self).forward(
                dict(inputs=images, data_samples=data['data_samples'][name]), training
            )
            for name, images in data['inputs'].items()
        }
        return {
            key: {name: view[key] for name, view in views.items()}
            for key in ('inputs', 'data_samples')
        }
