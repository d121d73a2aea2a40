"""Heads on a backbone's maps."""

from collections.abc import Callable, Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmseg.models.decode_heads import ASPPHead, SegformerHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses.ohem_cross_entropy_loss import OhemCrossEntropy
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from luss_mm.functional.guided_filter import pool_categories


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """Layer norm, 1x1 convolution and pixel shuffle.

    Each position of the feature map is classified patch_size x patch_size times, so that the logits
    are finer than the features by that factor ("patch 4").

    Args:
        in_channels: C of the feature map.
        num_classes: K + 1.
        patch_size: Logits of a position along each axis.
        upsample: Factor by which the head enlarges its logits bilinearly, before loss or prediction
            resize them: ImageNetSegModel's ResNet doubles them.
        norm_cfg: Config of a norm over the last axis, as dict(type='LN'); None for no norm.
        **kwargs: As mmseg's BaseDecodeHead.

    Source: ImageNetSegModel, whose ViT and ConvNeXt end so.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        patch_size: int = 1,
        upsample: int = 1,
        norm_cfg: dict | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            in_channels, in_channels, num_classes=num_classes, norm_cfg=norm_cfg, **kwargs
        )
        self.patch_size = patch_size
        self.upsample = upsample
        self.norm = build_norm_layer(norm_cfg, in_channels)[1] if norm_cfg else nn.Identity()
        self.conv_seg = nn.Conv2d(in_channels, num_classes * patch_size**2, kernel_size=1)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Logits of the feature maps of a backbone, float.

        Shape (B, K + 1, h * patch_size * upsample, w * patch_size * upsample).
        """
        features = self._transform_inputs(inputs)  # (B, C, h, w)
        features = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        logits = F.pixel_shuffle(self.cls_seg(features), self.patch_size)
        if self.upsample == 1:
            return logits
        return F.interpolate(
            logits, scale_factor=self.upsample, mode='bilinear', align_corners=False
        )


@MODELS.register_module()
class PooledCategoryHead(SegformerHead):
    """SegformerHead that is trained as ever and predicts by `pool_categories`.

    Args:
        *args: As `SegformerHead`.
        category_window: Radius of the neighbourhood, as a share of the short side; 0 for none.
        **kwargs: As `SegformerHead`.
    """

    def __init__(self, *args: object, category_window: float = 0.0, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.category_window = category_window

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Maps of the backbone to logits (B, K + 1, h, w)."""
        logits = super().forward(inputs)
        return logits if self.training else pool_categories(logits, self.category_window)


@MODELS.register_module()
class ProjectionHead(nn.Module):
    """Linear(C, H)-BN-ReLU-Linear(H, D)-BN(no affine) and L2 norm.

    Args:
        in_channels: C of the pooled feature.
        hidden_channels: H.
        embedding_channels: D.

    Source: SwAV; PASS uses H 512 (ResNet-18) or 2048, D 128.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, embedding_channels: int = 128
    ) -> None:
        super().__init__()
        self.embedding_channels = embedding_channels
        self.projection = projection_mlp(in_channels, hidden_channels, embedding_channels)

    def embed(self, pooled: Tensor) -> Tensor:
        """Project pooled features (B, C) to unit vectors, float32. Shape (B, D)."""
        return F.normalize(self.projection(pooled).float(), dim=1)


@MODELS.register_module()
class PrototypeHead(ProjectionHead):
    """A `ProjectionHead`, then scores against P prototypes.

    Args:
        in_channels: C of the pooled feature.
        hidden_channels: H.
        embedding_channels: D.
        num_prototypes: P, or several numbers for as many sets of prototypes, whose losses are
            averaged.

    Source: SwAV; PASS uses P 500 (S50) or 3000.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        embedding_channels: int = 128,
        num_prototypes: int | Sequence[int] = 500,
    ) -> None:
        super().__init__(in_channels, hidden_channels, embedding_channels)
        single = isinstance(num_prototypes, int)
        self.set_sizes = [num_prototypes] if single else list(num_prototypes)
        self.prototypes = nn.Linear(embedding_channels, sum(self.set_sizes), bias=False)
        if not single:  # a checkpoint must say where a set ends
            self.register_buffer('prototype_sets', torch.tensor(self.set_sizes))
        self.normalize_prototypes()

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """Put every prototype back on the unit sphere; a hook does so before each step."""
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def score(self, embeddings: Tensor) -> Tensor:
        """Cosine to every prototype, set by set, float32 also under autocast. (B, D) -> (B, P)."""
        return _float32_linear(embeddings, self.prototypes.weight)

    def score_frozen(self, embeddings: Tensor) -> Tensor:
        """Same as `score`, without gradients into the prototypes."""
        return _float32_linear(embeddings, self.prototypes.weight.detach())

    def mean_over_sets(
        self,
        loss: Callable[[list[Tensor], list[Tensor], float], Tensor],
        assignments: Sequence[Tensor],
        scores: Sequence[Tensor],
        temperature: float,
    ) -> Tensor:
        """Mean of a loss over the sets of prototypes.

        Args:
            loss: Loss of assignments, scores and a temperature.
            assignments: To all prototypes, set by set. Each (B, P).
            scores: Likewise. Each (B, P).
            temperature: Temperature of the softmax over the prototypes of a set.
        """
        sets = zip(self.by_set(assignments), self.by_set(scores), strict=True)
        return torch.stack([loss(q, s, temperature) for q, s in sets]).mean()

    def by_set(self, maps: Sequence[Tensor]) -> list[list[Tensor]]:
        """The parts (B, P_set) of each of some (B, P), for each set."""
        split = [part.split(self.set_sizes, dim=1) for part in maps]
        return [list(part) for part in zip(*split, strict=True)]


def projection_mlp(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential:
    """Linear-BN-ReLU-Linear-BN, the last BN without affine parameters: (B, C) -> (B, D)."""
    return nn.Sequential(
        nn.Linear(in_channels, hidden_channels),
        nn.BatchNorm1d(hidden_channels),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_channels, out_channels),
        nn.BatchNorm1d(out_channels, affine=False),
    )


def _float32_linear(embeddings: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(embeddings.device.type, enabled=False):
        return F.linear(embeddings.float(), weight.float())


@MODELS.register_module()
class DeepToShallowHead(nn.Module):
    """Brings a shallow feature map to the embedding space of the deep one.

    Args:
        in_channels: C of the shallow map, whatever the backbone gives there.
        hidden_channels: H of both MLPs.
        embedding_channels: D.
        in_index: Which of the backbone's outputs.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        embedding_channels: int = 128,
        in_index: int = 2,
    ) -> None:
        super().__init__()
        self.in_index = in_index
        self.adapter = pixel_mlp(in_channels, hidden_channels, in_channels)
        self.projection = projection_mlp(in_channels, hidden_channels, embedding_channels)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """Backbone outputs to unit embeddings, float32. Shape (B, D)."""
        pooled = self.adapter(features[self.in_index]).mean(dim=(2, 3))  # (B, C)
        return F.normalize(self.projection(pooled).float(), dim=1)


@MODELS.register_module()
class PixelToPixelHead(nn.Module):
    """Projector and predictor of single pixels.

    Args:
        in_channels: C of the feature map.
        hidden_channels: H.
        embedding_channels: D.
        points: Matched points along each axis of the overlap.
        placement: Placement of the points: 'edge', from edge to edge of the overlap and sampled
            with zeros around the maps, as in the authors' code; or 'centre', in the middle of equal
            cells, border cells repeated.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        embedding_channels: int = 128,
        points: int = 7,
        placement: str = 'edge',
    ) -> None:
        super().__init__()
        self.points = points
        self.placement = placement
        self.padding = 'zeros' if placement == 'edge' else 'border'
        self.projector = pixel_mlp(in_channels, hidden_channels, embedding_channels)
        self.predictor = nn.Sequential(
            nn.Conv2d(embedding_channels, embedding_channels, 1, bias=False),
            nn.BatchNorm2d(embedding_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(embedding_channels, embedding_channels, 1),
        )


def pixel_mlp(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolutions C-H-H-D with BN and ReLU between, the last BN without affine parameters."""
    return nn.Sequential(
        nn.Conv2d(in_channels, hidden_channels, 1, bias=False),
        nn.BatchNorm2d(hidden_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden_channels, hidden_channels, 1, bias=False),
        nn.BatchNorm2d(hidden_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels, affine=False),
    )


@MODELS.register_module()
class DeepLabV3PlusHead(ASPPHead):
    """DeepLabv3+ with full convolutions; mmseg's own has depthwise separable ones.

    Beside that, a convolution of 1x1 where mmseg's ASPP has one of 3x3 behind its branches. With
    2048 and 256 input channels, 256 of its own and 21 classes it has 16.84 million parameters,
    mmseg's 5.81 million.

    Args:
        shallow_in_channels: Channels of the backbone's first output, at stride 4.
        shallow_channels: To which they are reduced.
        shallow_kernel: Kernel of that convolution: 1 (DSSN) or 3 (PCT).
        aspp_dropout: Rate of the dropout behind the branches: 0 (DSSN) or .5 (PCT).
        **kwargs: As mmseg's ASPPHead.

    Source: Chen et al. 2018, DeepLabv3+; the public code of DSSN and of Learning Pseudo Labels.
    """

    def __init__(
        self,
        shallow_in_channels: int,
        shallow_channels: int = 48,
        shallow_kernel: int = 1,
        aspp_dropout: float = 0.0,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        layers = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        width = self.channels
        self.bottleneck = ConvModule((len(self.dilations) + 1) * width, width, 1, **layers)
        self.aspp_dropout = nn.Dropout(aspp_dropout)
        self.reduction = ConvModule(
            shallow_in_channels,
            shallow_channels,
            shallow_kernel,
            padding=shallow_kernel // 2,
            **layers,
        )
        self.fusion = nn.Sequential(
            ConvModule(width + shallow_channels, width, 3, padding=1, **layers),
            ConvModule(width, width, 3, padding=1, **layers),
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, h, w) at the size of the first of the backbone's feature maps."""
        deep = self.aspp_dropout(self._forward_feature(inputs))
        shallow = self.reduction(inputs[0])  # (B, c, h, w)
        deep = resize(
            deep, size=shallow.shape[2:], mode='bilinear', align_corners=self.align_corners
        )
        return self.cls_seg(self.fusion(torch.cat([deep, shallow], dim=1)))


@MODELS.register_module()
class HardPixelCrossEntropy(OhemCrossEntropy):
    """mmseg's OHEM cross entropy as a `loss_decode`: the mean over the pixels that are kept.

    Kept are those whose true class has a probability below `thres`, and at least the `min_kept`
    least probable of the batch. (`OHEMPixelSampler` divides by all valid pixels instead, and keeps
    `min_kept` an image.) Arguments: as `OhemCrossEntropy`.
    """

    def forward(
        self,
        score: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
    ) -> Tensor:
        """Loss of logits (B, K, H, W) against labels (B, H, W); 0 without a valid pixel.

        Raises:
            ValueError: If a sampler weights pixels, or the head ignores another label.
        """
        if weight is not None or ignore_index not in (None, self.ignore_label):
            raise ValueError(
                f'HardPixelCrossEntropy chooses pixels itself and ignores {self.ignore_label}: set '
                f'ignore_label={ignore_index} and remove the sampler of the head'
            )
        if not (target != self.ignore_label).any():
            return score.sum() * 0.0  # with a gradient, which other ranks wait for
        return super().forward(score.float(), target)
