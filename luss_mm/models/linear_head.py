"""One linear layer on a feature map: the head of the semi-supervised ImageNet-S benchmark."""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """Layer norm, 1x1 convolution and pixel shuffle.

    Each position of the feature map is classified patch_size x patch_size times, so that the logits
    are finer than the features by that factor ("patch 4").

    Args:
        in_channels: C of the feature map.
        num_classes: K + 1.
        patch_size: Logits of a position along each axis.
        norm_cfg: Config of a norm over the last axis, as dict(type='LN'); None for no norm.
        **kwargs: As mmseg's BaseDecodeHead.

    Source: ImageNetSegModel, whose ViT and ConvNeXt end so.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        patch_size: int = 1,
        norm_cfg: dict | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            in_channels, in_channels, num_classes=num_classes, norm_cfg=norm_cfg, **kwargs
        )
        self.patch_size = patch_size
        self.norm = build_norm_layer(norm_cfg, in_channels)[1] if norm_cfg else nn.Identity()
        self.conv_seg = nn.Conv2d(in_channels, num_classes * patch_size**2, kernel_size=1)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Logits (B, K + 1, h * patch_size, w * patch_size) of the feature maps of a backbone."""
        features = self._transform_inputs(inputs)  # (B, C, h, w)
        features = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.pixel_shuffle(self.cls_seg(features), self.patch_size)
