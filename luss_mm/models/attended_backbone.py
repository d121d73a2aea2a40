"""A backbone with gates: what clustering and pixel labels are made from, and its classifiers."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

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
            features: Features of the backbone, not normalised. Shape (B, C, h, w).
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
        sharpen_epsilon: Epsilon of `guided_filter`.
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
            features: Features of the backbone, not enlarged. Shape (B, C, h, w).
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
            scores: Scores of the gates, in [0, 1]. Shape (B, h, w).
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

    def forward(
        self, inputs: list[Tensor] | Tensor, mode: str = 'tensor', **labels: object
    ) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        """The loss of a training batch, or embeddings and foreground scores of images."""
        if mode == 'tensor':
            return self.embed(inputs)
        if mode == 'loss':
            return self.loss(inputs, **labels)
        raise ValueError(f'{type(self).__name__} has the modes loss and tensor, not {mode!r}')

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

    def loss(self, inputs: Tensor, **_: object) -> dict[str, Tensor]:
        """There is none."""
        raise ValueError('ForegroundModel has nothing to train and only the mode tensor')


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
            features: Features of the backbone, not normalised. Shape (B, C, h, w).
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


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Global average pooling and a linear layer: the classifiers f and g.

    Args:
        backbone: Config of the backbone.
        channels: C of the deep map.
        num_classes: K, the clusters that are told apart.
        in_index: Which backbone output is the deep map F.
        data_preprocessor: Config, normally `ViewsPreprocessor`.
        init_cfg: mmengine initialisation.

    Source: PDSO, denoising-based feature fine-tuning.
    """

    def __init__(
        self,
        backbone: dict,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.classifier = nn.Linear(channels, num_classes)
        self.in_index = in_index

    def forward(
        self, inputs: Tensor, class_label: Tensor | None = None, mode: str = 'tensor', **_: object
    ) -> dict[str, Tensor] | Tensor:
        """Cross-entropy against class labels, or logits.

        Args:
            inputs: Normalised images. Shape (B, 3, H, W).
            class_label: Cluster of each image, int64 in [0, K); read by mode loss. Shape (B,).
            mode: loss or tensor.

        Returns:
            `loss_class`, or logits (B, K).
        """
        logits = self.classifier(self.backbone(inputs)[self.in_index].mean(dim=(2, 3)))
        if mode == 'loss':
            return {'loss_class': F.cross_entropy(logits, class_label)}
        if mode == 'tensor':
            return logits
        raise ValueError(f'ImageClassifier has the modes loss and tensor, not {mode!r}')


@MODELS.register_module()
class AttendedClassifier(AttendedBackbone):
    """A linear layer on the attention-pooled embedding: the classifier h.

    Once trained, its backbone and attention are the features that are clustered and labelled.

    Args:
        num_classes: K, the clusters that are told apart.
        **kwargs: As `AttendedBackbone`.

    Source: PDSO, denoising-based feature fine-tuning. Whether the embedding was normalised before
    the linear layer is not published; here it is not, as under any linear classifier.
    """

    pretrained_parts = ('backbone', 'attention')  # what its starting point must hold

    def __init__(self, *, num_classes: int, channels: int, **kwargs: object) -> None:
        super().__init__(channels=channels, **kwargs)
        self.classifier = nn.Linear(channels, num_classes)

    def loss(self, inputs: Tensor, class_label: Tensor, **_: object) -> dict[str, Tensor]:
        """Cross-entropy against class labels, int64 (B,), of images (B, 3, H, W)."""
        logits = self.classifier(self.pooling.embedding(*self.attend(inputs)))
        return {'loss_class': F.cross_entropy(logits, class_label)}
