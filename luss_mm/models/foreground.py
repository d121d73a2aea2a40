"""Foreground gates from feature maps, and the model that they make of a backbone."""

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from luss_mm.functional.guided_filter import guided_filter
from luss_mm.functional.pixel_attention import upsample_features
from luss_mm.functional.thresholds import image_thresholds
from luss_mm.models.attended_backbone import AttendedBackbone

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
            features: Features of the backbone. Shape (B, C, h, w).
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
            features: Features of the backbone. Shape (B, C, h, w).
            enlarged: The same through `upsample_features`; only its size counts. Shape
                (B, C, s * h, s * w).

        Returns:
            In [0, 1], float32. Shape (B, 1, s * h, s * w).
        """
        scale = enlarged.shape[-1] // features.shape[-1]
        return upsample_features(self.logits(features).float(), scale).sigmoid()


@MODELS.register_module()
class FoundModel(AttendedBackbone):
    """Trains a `FoundHead` on a frozen backbone without labels.

    The target of an image is where its feature vectors are long, the edges moved to edges of colour
    and cut at Otsu's threshold of the image. While `self_training` is set (`SelfTrainingHook`) it
    is the head's own foreground, its edges moved likewise, cut at .5.

    Args:
        foreground: Config of the `FoundHead`.
        target_radius: Radius of the `guided_filter` that moves the edges of targets, as a share of
            the short side.
        **kwargs: As `AttendedBackbone`.

    Source: Simeoni et al. 2023 (FOUND), section 3.3, with other coarse masks (theirs come from the
    attention of a vision transformer) and another filter (theirs is the bilateral solver).
    """

    def __init__(self, *, foreground: dict, target_radius: float = 0.25, **kwargs: object) -> None:
        super().__init__(foreground=foreground, **kwargs)
        self.target_radius = target_radius
        self.self_training = False
        self.length = FeatureLength()
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> 'FoundModel':
        """Set training mode, but of the frozen backbone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(
        self, inputs: Tensor, mode: str = 'tensor', **_: object
    ) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        """Loss, or embeddings and foreground scores, of normalised images (B, 3, H, W)."""
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.embed(inputs)
        raise ValueError(f'FoundModel has the modes loss and tensor, not {mode!r}')

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Binary cross-entropy of each pixel of the images against the target."""
        features = self.backbone(images)[self.in_index]
        logits = self.attention.logits(features)  # (B, 1, h, w)
        target = self.target(features, logits.detach(), images)
        large = F.interpolate(
            logits.float(), images.shape[-2:], mode='bilinear', align_corners=False
        )
        return {'loss_found': F.binary_cross_entropy_with_logits(large[:, 0], target)}

    @torch.no_grad()
    def target(self, features: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """What the head learns: 1 where the object is thought to be, else 0.

        Args:
            features: Features of the backbone. Shape (B, C, h, w).
            logits: Logits of the head. Shape (B, 1, h, w).
            images: Normalised. Shape (B, 3, H, W).

        Returns:
            float32 (B, H, W).
        """
        own = self.self_training
        score = logits.float().sigmoid() if own else self.length(features, features)
        guide = (images.float() * self.data_preprocessor.std + self.data_preprocessor.mean) / 255
        sharp = guided_filter(score[:, 0], guide, self.target_radius, self.pooling.sharpen_epsilon)
        if own:
            return (sharp >= 0.5).float()
        return (sharp >= image_thresholds(sharp)[:, None, None]).float()
