"""A backbone with pixel attention: what clustering and pixel labels are made from."""

from dataclasses import dataclass

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from luss_mm.functional.guided_filter import box_mean, guided_filter
from luss_mm.functional.pixel_attention import foreground_score, gated_embedding, upsample_features
from luss_mm.functional.thresholds import centre_scores
from luss_mm.models.cpu_speed import use_channels_last

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


@dataclass(frozen=True)
class GatePooling:
    """What becomes of features and gates; the defaults are PASS's.

    Attributes:
        gate_power: The embedding is GAP(F * A^power): a larger one counts fewer, surer pixels.
        label_window: Radius, as a share of the short side, of the window over which gated features
            are averaged before a pixel is given a category. 0 labels each pixel by itself; from
            about .5 on an image of one object gets one category.
        sharpen_radius: Radius of `guided_filter` on the foreground score, as a share of the short
            side, guided by the image. 0: no filter.
        sharpen_epsilon: Of `guided_filter`.
        image_threshold: Whether each image is cut at its own Otsu threshold, which `centre_scores`
            moves to 1/2; the foreground threshold of all images is then .5.
    """

    gate_power: float = 1.0
    label_window: float = 0.0
    sharpen_radius: float = 0.0
    sharpen_epsilon: float = 1e-4
    image_threshold: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if min(self.label_window, self.sharpen_radius) < 0 or self.gate_power <= 0:
            raise ValueError(
                f'gate_power {self.gate_power} must be above 0, label_window {self.label_window} '
                f'and sharpen_radius {self.sharpen_radius} at least 0'
            )

    def embedding(self, features: Tensor, gates: Tensor) -> Tensor:
        """Mean of the features (B, C, h, w) that the gates let through. Shape (B, C)."""
        return gated_embedding(features, gates**self.gate_power)

    def label_features(self, features: Tensor, gates: Tensor) -> Tensor:
        """What pixels are compared with centroids by; only directions count.

        Args:
            features: Of the backbone, not enlarged. Shape (B, C, h, w).
            gates: In [0, 1]. Shape (B, C or 1, s * h, s * w).

        Returns:
            Shape (B, C, h, w).
        """
        if not self.label_window:
            return features
        small = F.adaptive_avg_pool2d(gates**self.gate_power, features.shape[-2:])
        radius = round(self.label_window * min(features.shape[-2:]))
        return box_mean(features.float() * small, radius)

    def finish_scores(self, scores: Tensor, images: Tensor, preprocessor: nn.Module) -> Tensor:
        """Foreground scores as they are thresholded.

        Args:
            scores: Of the gates, in [0, 1]. Shape (B, h, w).
            images: Normalised. Shape (B, 3, H, W).
            preprocessor: With the mean and std that normalised them.

        Returns:
            In [0, 1]; at the images' resolution where they are sharpened. Shape (B, h', w').
        """
        if self.sharpen_radius:
            guide = (images.float() * preprocessor.std + preprocessor.mean) / 255
            scores = guided_filter(scores, guide, self.sharpen_radius, self.sharpen_epsilon)
        return centre_scores(scores) if self.image_threshold else scores


class AttendedBackbone(BaseModel):
    """Features and their gates; subclasses add what they are trained with.

    Args:
        backbone: Config of the backbone.
        channels: C of the deep map.
        in_index: Which backbone output is the deep map F.
        upsample: Factor by which F is enlarged before attention.
        foreground: Config of what makes gates from features, such as `FeatureLength`; None: PASS's
            `PixelAttentionHead`.
        pooling: How the gates are used, see `GatePooling`; None: as PASS does.
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
        foreground: dict | None = None,
        pooling: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.attention = MODELS.build(foreground) if foreground else PixelAttentionHead(channels)
        self.pooling = GatePooling(**(pooling or {}))
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

    def image_embedding(self, features: Tensor, gates: Tensor) -> Tensor:
        """Embedding for clustering: GAP(F * A), F not normalised, then L2 norm. Shape (B, C)."""
        return F.normalize(self.pooling.embedding(features, gates).float(), dim=1)

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and foreground scores of a batch of images.

        Args:
            images: Normalised. Shape (B, 3, H, W).

        Returns:
            Unit rows, float32 (B, C), and scores in [0, 1] (B, h, w).
        """
        features, gates = self.attend(images)
        scores = self.pooling.finish_scores(foreground_score(gates), images, self.data_preprocessor)
        return self.image_embedding(features, gates), scores


@MODELS.register_module()
class ForegroundModel(AttendedBackbone):
    """A backbone whose foreground needs no training, as a stage like any other.

    Its training has no iterations: the stage only brings weights and configuration together.
    """

    def __init__(self, *, foreground: dict, **kwargs: object) -> None:
        super().__init__(foreground=foreground, **kwargs)

    def forward(self, inputs: Tensor, mode: str = 'tensor', **_: object) -> tuple[Tensor, Tensor]:
        """Embeddings and foreground scores of a batch of normalised images (B, 3, H, W)."""
        if mode == 'tensor':
            return self.embed(inputs)
        raise ValueError(f'ForegroundModel has nothing to train and only the mode tensor: {mode!r}')
