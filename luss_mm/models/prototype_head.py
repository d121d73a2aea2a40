"""Projection to the sphere and similarity to learnt prototypes, shared by all PASS stages."""

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class PrototypeHead(nn.Module):
    """Linear(C, H)-BN-ReLU-Linear(H, D)-BN(no affine), L2 norm, then scores against P prototypes.

    Args:
        in_channels: C of the pooled feature.
        hidden_channels: H.
        embedding_channels: D.
        num_prototypes: P.

    Source: SwAV; PASS uses H 512 (ResNet-18) or 2048, D 128, P 500 (S50) or 3000.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        embedding_channels: int = 128,
        num_prototypes: int = 500,
    ) -> None:
        super().__init__()
        self.embedding_channels = embedding_channels
        self.projection = projection_mlp(in_channels, hidden_channels, embedding_channels)
        self.prototypes = nn.Linear(embedding_channels, num_prototypes, bias=False)
        self.normalize_prototypes()

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """Put every prototype back on the unit sphere; a hook does so before each step."""
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def embed(self, pooled: Tensor) -> Tensor:
        """Project pooled features (B, C) to unit vectors, float32. Shape (B, D)."""
        return F.normalize(self.projection(pooled).float(), dim=1)

    def score(self, embeddings: Tensor) -> Tensor:
        """Cosine to every prototype, float32 also under autocast. (B, D) -> (B, P)."""
        return _float32_linear(embeddings, self.prototypes.weight)

    def score_frozen(self, embeddings: Tensor) -> Tensor:
        """As `score`, with no gradient into the prototypes."""
        return _float32_linear(embeddings, self.prototypes.weight.detach())


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
