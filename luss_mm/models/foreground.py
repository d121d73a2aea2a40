"""Where the object is, read off feature maps: what pooling and foreground scores are made from."""

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from luss_mm.functional.pixel_attention import upsample_features

SMALLEST_RANGE = 1e-6  # of an image's lengths, relative to the longest: below it all are equal


@MODELS.register_module()
class FeatureLength(BaseModule):
    """The length of each pixel's feature vector, scaled to 0..1 within its image.

    Networks of convolutions that were trained to name objects answer to objects with long vectors.
    Nothing is learnt, and nothing looks at labels. (Vision transformers without registers have
    their longest vectors in the background: not for them.)
    """

    def forward(self, features: Tensor, enlarged: Tensor) -> Tensor:
        """One gate a pixel.

        Args:
            features: Of the backbone. Shape (B, C, h, w).
            enlarged: The same through `upsample_features`. Shape (B, C, s * h, s * w).

        Returns:
            In [0, 1], float32; all 1 where an image's vectors are equally long. Shape
            (B, 1, s * h, s * w).
        """
        length = enlarged.float().norm(dim=1, keepdim=True)
        low, high = length.amin((2, 3), True), length.amax((2, 3), True)
        spread = high - low
        flat = spread <= SMALLEST_RANGE * high
        return ((length - low) / spread.masked_fill(flat, 1)).masked_fill(flat, 1)


@MODELS.register_module()
class FoundHead(BaseModule):
    """Batch norm and one 1x1 convolution to a gate a pixel; `FoundModel` trains it.

    Args:
        channels: C of the deep map.

    Source: Simeoni et al. 2023 (FOUND), section 3.3; the batch norm, without parameters of its own,
    makes one learning rate fit any backbone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.convolution = nn.Conv2d(channels, 1, 1)

    def logits(self, features: Tensor) -> Tensor:
        """Above 0 where the object is: (B, C, h, w) to (B, 1, h, w)."""
        return self.convolution(self.norm(features))

    def forward(self, features: Tensor, enlarged: Tensor) -> Tensor:
        """One gate a pixel. The head is linear, so its result is enlarged rather than its input.

        Args:
            features: Of the backbone. Shape (B, C, h, w).
            enlarged: The same through `upsample_features`; only its size counts. Shape
                (B, C, s * h, s * w).

        Returns:
            In [0, 1], float32. Shape (B, 1, s * h, s * w).
        """
        scale = enlarged.shape[-1] // features.shape[-1]
        return upsample_features(self.logits(features).float(), scale).sigmoid()
