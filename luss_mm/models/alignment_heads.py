"""The heads that only pretraining needs: deep-to-shallow and pixel-to-pixel alignment."""

from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from luss_mm.models.prototype_head import projection_mlp


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
        placement: Of the points: 'edge', from edge to edge of the overlap and sampled with zeros
            around the maps, as in the authors' code; or 'centre', in the middle of equal cells,
            border cells repeated.
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
