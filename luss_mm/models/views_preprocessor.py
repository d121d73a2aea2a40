"""Batches of uint8 views to normalised float batches on the device."""

import torch
from mmengine.model import BaseDataPreprocessor
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
