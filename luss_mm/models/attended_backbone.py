"""A backbone with pixel attention: what clustering and pixel labels are made from."""

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from luss_mm.functional.pixel_attention import foreground_score, gated_embedding, upsample_features
from luss_mm.models.memory_format import use_channels_last

SMALLEST_LENGTH = 1e-12  # of a feature vector, as F.normalize


class PixelAttentionHead(nn.Module):
    """conv1x1-BN-ReLU-conv1x1-BN + offset, sigmoid: features (B, C, h, w) to gates in [0, 1].

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: Tensor, enlarged: Tensor) -> Tensor:
        """Gates of the enlarged and then normalised features.

        The first layer is linear in each pixel's feature vector, so it commutes with enlarging and
        with dividing by the vector's length: it runs on the small map, which at factor 4 saves
        nearly half of this head's arithmetic.

        Args:
            features: Of the backbone, not normalised. Shape (B, C, h, w).
            enlarged: The same through `upsample_features`. Shape (B, C, s * h, s * w).

        Returns:
            In [0, 1]. Shape (B, C, s * h, s * w).
        """
        first, *others = self.layers
        length = enlarged.norm(dim=1, keepdim=True).clamp_min(SMALLEST_LENGTH)  # (B, 1, s h, s w)
        scale = enlarged.shape[-1] // features.shape[-1]
        response = upsample_features(first(features), scale) / length
        for layer in others:
            response = layer(response)
        return torch.sigmoid(response + self.offset)


class AttendedBackbone(BaseModel):
    """Features and their gates; subclasses add what they are trained with.

    Args:
        backbone: Config of the backbone.
        channels: C of the deep map.
        in_index: Which backbone output is the deep map F.
        upsample: Factor by which F is enlarged before attention.
        data_preprocessor: Config, normally `ViewsPreprocessor`.
        init_cfg: mmengine initialisation.

    Source: Gao et al. 2022 (PASS), pixel attention.
    """

    def __init__(
        self,
        backbone: dict,
        channels: int,
        in_index: int = -1,
        upsample: int = 4,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.attention = PixelAttentionHead(channels)
        self.in_index = in_index
        self.upsample = upsample
        use_channels_last(self)

    def attend(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Enlarged features of the backbone, not normalised, and their gates.

        Args:
            images: Normalised. Shape (B, 3, H, W).

        Returns:
            Features and gates, each (B, C, h, w) with h = upsample * H / stride.
        """
        features = self.backbone(images)[self.in_index]
        enlarged = upsample_features(features, self.upsample)
        return enlarged, self.attention(features, enlarged)

    @staticmethod
    def image_embedding(features: Tensor, gates: Tensor) -> Tensor:
        """Embedding for clustering: GAP(F * A), F not normalised, then L2 norm. Shape (B, C)."""
        return F.normalize(gated_embedding(features, gates).float(), dim=1)

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and foreground scores of a batch of images.

        Args:
            images: Normalised. Shape (B, 3, H, W).

        Returns:
            Unit rows, float32 (B, C), and scores in [0, 1] (B, h, w).
        """
        features, gates = self.attend(images)
        return self.image_embedding(features, gates), foreground_score(gates)
