"""A trained backbone with pixel attention, made ready to look at many images."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from luss_mm.functional.pixel_attention import foreground_score, upsample_features
from luss_mm.models.attended_backbone import SMALLEST_LENGTH, AttendedBackbone, PixelAttentionHead
from luss_mm.models.cpu_speed import use_channels_last

PRECISIONS = ('float32', 'bfloat16')
# Values of enlarged maps that go through the attention together on a CPU, so that they stay in a
# core's cache from layer to layer. An image of 224 pixels has 401,408 with ResNet-18.
VALUES_IN_CACHE = 2**19


class FoldedAttention(nn.Module):
    """`PixelAttentionHead` in eval mode, its batch norms and offset within the convolutions.

    Args:
        head: Trained.
    """

    def __init__(self, head: PixelAttentionHead) -> None:
        super().__init__()
        first, first_norm, _, second, second_norm = head.layers
        # The first bias comes after the division by the feature's length: it stays apart.
        self.first = _folded(first, first_norm)
        self.second = _folded(second, second_norm)
        self.second.bias.data += head.offset.data.flatten()
        self.bias = nn.Parameter(self.first.bias.data.view(1, -1, 1, 1))
        self.first.bias = None

    def forward(self, features: Tensor, enlarged: Tensor) -> Tensor:
        """Gates of the enlarged and then normalised features.

        Args:
            features: Of the backbone, not normalised. Shape (B, C, h, w).
            enlarged: The same through `upsample_features`. Shape (B, C, s * h, s * w).

        Returns:
            In [0, 1], float32. Shape (B, C, s * h, s * w).
        """
        length = torch.linalg.vector_norm(enlarged, dim=1, keepdim=True, dtype=torch.float32)
        scale = enlarged.shape[-1] // features.shape[-1]
        response = upsample_features(self.first(features), scale)
        factor = length.clamp_min_(SMALLEST_LENGTH).reciprocal_().to(response.dtype)
        response = torch.addcmul(self.bias.to(response.dtype), response, factor).relu_()
        return self.second(response).float().sigmoid_()


class AttendedInference(nn.Module):
    """Embeddings and foreground scores as `AttendedBackbone` makes them in eval mode, in less time.

    Batch norms lie within the convolutions before them, and the attention sees a few images at a
    time. What it enlarges of them is gone before the next ones.

    Args:
        model: Trained; put into eval mode, else not changed.
        precision: 'float32', or 'bfloat16' for the products within backbone and attention. The
            lengths of features, gates, embeddings and scores are float32 in either.

    Raises:
        ValueError: If there is no such precision.
    """

    def __init__(self, model: AttendedBackbone, precision: str = 'float32') -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f'precision: one of {PRECISIONS}, not {precision!r}')
        model.eval()
        self.data_preprocessor = model.data_preprocessor
        self.backbone = fold_batch_norms(deepcopy(model.backbone))
        self.attention = (
            FoldedAttention(model.attention)
            if isinstance(model.attention, PixelAttentionHead)
            else deepcopy(model.attention)
        )
        self.pooling = model.pooling
        self.in_index = model.in_index
        self.upsample = model.upsample
        self.precision = precision
        use_channels_last(self)
        self.eval().requires_grad_(False)
        if precision == 'bfloat16':  # else autocast would round all weights for every batch
            for module in self.modules():
                if type(module) in (nn.Conv2d, nn.Linear):
                    module.to(torch.bfloat16)

    def forward(self, images: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings and foreground scores of a batch of images.

        Args:
            images: Normalised. Shape (B, 3, H, W).
            features: The backbone's deep map of them if it is at hand. Shape (B, C, h, w).

        Returns:
            Unit rows, float32 (B, C), and scores in [0, 1], float32 (B, h, w).
        """
        with self._autocast(images):
            features = self._features(images, features)
            parts = [
                (self.pooling.embedding(enlarged, gates), foreground_score(gates))
                for enlarged, gates in self._attend(features)
            ]
        embeddings, scores = (torch.cat(column) for column in zip(*parts, strict=True))
        return F.normalize(embeddings.float(), dim=1), self._finish_scores(scores, images)

    embed = forward  # as `AttendedBackbone` calls it

    def score_pixels(self, images: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features that pixels are labelled by, not enlarged, and foreground scores.

        Args:
            images: Normalised. Shape (B, 3, H, W).
            features: The backbone's deep map of them if it is at hand. Shape (B, C, h, w).

        Returns:
            Features (B, C, h, w), in bfloat16 if that is the precision, averaged over the window of
            `GatePooling` if there is one, and scores in [0, 1], float32 (B, s h, s w) with
            s = `upsample`, or at the images' size where they are sharpened.
        """
        with self._autocast(images):
            features = self._features(images, features)
            gates = [gates for _, gates in self._attend(features)]
        scores = torch.cat([foreground_score(part) for part in gates])
        if self.pooling.label_window:
            features = self.pooling.label_features(features, torch.cat(gates))
        return features, self._finish_scores(scores, images)

    def _finish_scores(self, scores: Tensor, images: Tensor) -> Tensor:
        return self.pooling.finish_scores(scores, images, self.data_preprocessor)

    def _autocast(self, images: Tensor) -> torch.autocast:
        enabled = self.precision == 'bfloat16'
        return torch.autocast(images.device.type, torch.bfloat16, enabled=enabled)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """All outputs of the backbone, (B, C, h, w) each, of normalised images (B, 3, H, W)."""
        with self._autocast(images):
            return self.backbone(images)

    def _features(self, images: Tensor, known: Tensor | None) -> Tensor:
        return self.backbone(images)[self.in_index] if known is None else known

    def _attend(self, features: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Enlarged features and gates of a few images after the other."""
        size = len(features)
        if not features.is_cuda:
            size = max(1, VALUES_IN_CACHE // (features[0].numel() * self.upsample**2))
        for part in features.split(size):
            enlarged = upsample_features(part, self.upsample)
            yield enlarged, self.attention(part, enlarged)


@torch.no_grad()
def fold_batch_norms(backbone: nn.Module) -> nn.Module:
    """Scale and shift of batch norms become part of the convolutions before them.

    Which convolution is before a batch norm is read off the order in which a module's parts were
    made. Whether that is the order of its forward pass is tried: a backbone that gives anything
    else after folding stays as it is.

    Args:
        backbone: In eval mode; not changed.

    Returns:
        A folded copy, or the backbone where nothing can be folded.
    """
    if not any(isinstance(module, _BatchNorm) for module in backbone.modules()):
        return backbone
    folded = fuse_conv_bn(deepcopy(backbone))
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = noise.to(next(backbone.parameters()).device)
    pairs = zip(backbone(noise), folded(noise), strict=True)
    same = all(torch.allclose(b, a, rtol=1e-3, atol=1e-3 * a.abs().max()) for a, b in pairs)
    return folded if same else backbone


def _folded(convolution: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """A convolution with the scale and shift of the batch norm after it."""
    return fuse_conv_bn(nn.Sequential(deepcopy(convolution), deepcopy(norm)))[0]
