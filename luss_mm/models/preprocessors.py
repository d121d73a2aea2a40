"""Batches of views or of labelled and unlabelled images, onto the device."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS

from luss_mm.functional.colour_changes import change_colours


@MODELS.register_module()
class ViewsPreprocessor(BaseDataPreprocessor):
    """Moves collated views to the device as uint8, changes their colours there and normalises.

    Args:
        mean: RGB mean in [0, 255].
        std: RGB standard deviation in [0, 255].
    """

    def __init__(
        self,
        mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
        std: tuple[float, float, float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__(non_blocking=True)
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: `inputs`, a list with a uint8 batch (B, 3, s, s) for each view, or one such batch;
                `crops`, float (B, V, 5), if the views carry them; `colour_changes`, float
                (B, V, 10), if `MultiCrop` left them to the device.
            training: Unused; mmengine passes it.

        Returns:
            The same keys but `colour_changes`, the images float32 on the model's device.
        """
        data = self.cast_data(data)
        views = data['inputs']
        if 'colour_changes' in data:
            changes = data.pop('colour_changes').unbind(dim=1)
            views = [change_colours(view, c) for view, c in zip(views, changes, strict=True)]
        if isinstance(views, torch.Tensor):
            return dict(data, inputs=self.normalize(views))
        return dict(data, inputs=[self.normalize(view) for view in views])

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise images (B, 3, h, w) of any dtype to float32, channels last in memory."""
        images = images.to(memory_format=torch.channels_last)
        return (images.float() - self.mean) / self.std


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
