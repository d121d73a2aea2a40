"""Channel-wise pixel attention: which pixels of a feature map belong to the object."""

from torch import Tensor
from torch.nn import functional as F


def upsample_features(features: Tensor, scale: int = 4) -> Tensor:
    """Enlarge a feature map bilinearly (align_corners False).

    Args:
        features: Shape (B, C, h, w).
        scale: Factor.

    Returns:
        Shape (B, C, scale * h, scale * w).
    """
    if scale == 1:
        return features
    return F.interpolate(features, scale_factor=scale, mode='bilinear', align_corners=False)


def gated_embedding(features: Tensor, gates: Tensor) -> Tensor:
    """Global average of features that a gate per channel and pixel lets through.

    Args:
        features: Shape (B, C, h, w).
        gates: In [0, 1]. Shape (B, C, h, w).

    Returns:
        GAP(features * gates), not normalised. Shape (B, C).

    Source: Gao et al. 2022, pixel attention.
    """
    return (features * gates).mean(dim=(2, 3))


def foreground_score(gates: Tensor) -> Tensor:
    """Mean gate of each pixel over the channels.

    Args:
        gates: In [0, 1]. Shape (B, C, h, w).

    Returns:
        Score in [0, 1]; high means object. Shape (B, h, w).
    """
    return gates.mean(dim=1)
