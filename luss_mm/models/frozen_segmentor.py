"""A segmentation head that is trained on maps of a frozen backbone."""

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from luss_mm.models.luss_segmentor import LUSSSegmentor


@MODELS.register_module()
class MapsPreprocessor(SegDataPreProcessor):
    """mmseg's SegDataPreProcessor, which also takes batches of cached maps."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepare a batch.

        Args:
            data: Of `PackCachedMaps`: `inputs`, for each level the maps (C, h, w) of the images,
                and `data_samples`; or of images as for `SegDataPreProcessor`.
            training: As for `SegDataPreProcessor`.

        Returns:
            The same keys; of maps `inputs` is a list of float32 (B, C, h, w).
        """
        if isinstance(data['inputs'][0], Tensor):
            return super().forward(data, training)
        # float32 before they are stacked: a CPU's autocast cannot stack float16.
        levels = [
            torch.stack([maps.to(self.device).float() for maps in level])
            for level in data['inputs']
        ]
        return dict(inputs=levels, data_samples=self.cast_data(data['data_samples']))


@MODELS.register_module()
class FrozenSegmentor(LUSSSegmentor):
    """LUSSSegmentor whose backbone never changes, so that its maps may be computed beforehand.

    Training takes cached maps or images, everything else images.

    Args:
        *args: As `LUSSSegmentor`.
        map_outputs: Which of the backbone's outputs the cached maps are, in their order.
        **kwargs: As `LUSSSegmentor`; the data preprocessor is a `MapsPreprocessor`.
    """

    def __init__(self, *args: object, map_outputs: Sequence[int] = (), **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.map_outputs = tuple(map_outputs)
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> 'FrozenSegmentor':
        """Set training mode of everything but the backbone, whose batch norms would change."""
        super().train(mode)
        self.backbone.eval()
        return self

    def loss(
        self, inputs: list[Tensor] | Tensor, data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: Cached maps, float32 (B, C, h, w) for each of `map_outputs`; or normalised
                images (B, 3, H, W).
            data_samples: With label maps.
        """
        return super().loss(inputs, data_samples)

    def extract_feat(self, inputs: list[Tensor] | Tensor) -> Sequence[Tensor | None]:
        """Outputs of the backbone, None for those that are not among the cached maps."""
        if isinstance(inputs, Tensor):
            return super().extract_feat(inputs)
        features: list[Tensor | None] = [None] * (max(self.map_outputs) + 1)
        for output, level in zip(self.map_outputs, inputs, strict=True):
            features[output] = level
        return features
