"""DeepLabv3+ as DSSN and PCT have it: head, loss of hard pixels, sliding windows."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads import ASPPHead
from mmseg.models.losses.ohem_cross_entropy_loss import OhemCrossEntropy
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn


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


@MODELS.register_module()
class WindowSegmentor(EncoderDecoder):
    """EncoderDecoder whose sliding windows add up probabilities instead of logits.

    The windows begin at multiples of the stride in both directions, and those that reach over the
    border are cut off there; mmseg moves them inwards. What is returned are sums of probabilities,
    whose argmax is the prediction.

    Source: UniMatch's evaluation on Cityscapes, which DSSN's code has taken over.
    """

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Sums of the windows' probabilities. Shape (B, K, H, W)."""
        height, width = inputs.shape[2:]
        rows, columns = self.test_cfg['crop_size']
        down, across = self.test_cfg['stride']
        sums = inputs.new_zeros((len(inputs), self.out_channels, height, width))
        for top in range(0, height, down):
            for left in range(0, width, across):
                window = (..., slice(top, top + rows), slice(left, left + columns))
                metas = [dict(meta, img_shape=inputs[window].shape[2:]) for meta in batch_img_metas]
                sums[window] += self.encode_decode(inputs[window], metas).softmax(dim=1)
        return sums
