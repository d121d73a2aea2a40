"""Pixel-to-pixel alignment of views."""

import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.ranks import sum_over_ranks, world_size


def overlap_grids(
    crops_a: Tensor, crops_b: Tensor, points: int = 7, placement: str = 'edge'
) -> tuple[Tensor, Tensor, Tensor]:
    """Sampling grids that hit the same image points in two crops.

    Args:
        crops_a: Crop rectangles left, top, width, height in pixels of the image, and 1 if the view
            was flipped left to right, else 0. Float. Shape (B, 5).
        crops_b: Likewise for the other view. Shape (B, 5).
        points: Points along each axis.
        placement: 'edge': evenly from edge to edge of the overlap rectangle, so the outer ones lie
            on its sides; 'centre': the centres of points x points equal cells of it.

    Returns:
        Grid of each crop for `grid_sample(align_corners=False)`: x, y in [-1, 1] over the crop.
        Each float32 of shape (B, points, points, 2). Then whether the crops overlap, bool (B,);
        the grids of a pair without overlap are zeros.

    Raises:
        ValueError: If the placement is unknown, or one point is to reach both edges.

    Source: PASS (Gao et al. 2022), pixel-to-pixel alignment: 'edge' as in the authors' code;
        the paper's text allows 'centre' too.
    """
    crops_a, crops_b = crops_a.float(), crops_b.float()
    left_top = torch.maximum(crops_a[:, :2], crops_b[:, :2])  # (B, 2)
    right_bottom = torch.minimum(crops_a[:, :2] + crops_a[:, 2:4], crops_b[:, :2] + crops_b[:, 2:4])
    extent = right_bottom - left_top
    overlaps = (extent > 0).all(dim=1)
    shares = _shares(points, placement).to(crops_a.device)  # (points,)
    x = left_top[:, :1] + shares * extent[:, :1]  # (B, points) in image pixels
    y = left_top[:, 1:] + shares * extent[:, 1:]
    grids = [_grid_in_crop(x, y, crop, overlaps) for crop in (crops_a, crops_b)]
    return grids[0], grids[1], overlaps


def _shares(points: int, placement: str) -> Tensor:
    """Where the points lie along a side of length 1."""
    if placement == 'centre':
        return (torch.arange(points) + 0.5) / points
    if placement != 'edge' or points < 2:
        raise ValueError(
            f"points are placed at 'edge' (2 or more) or 'centre', not {points} at {placement!r}"
        )
    return torch.linspace(0, 1, points)


def _grid_in_crop(x: Tensor, y: Tensor, crops: Tensor, overlaps: Tensor) -> Tensor:
    left, top, width, height, flipped = (column[:, None] for column in crops.unbind(dim=1))
    across = (x - left) / width * 2 - 1  # (B, points)
    across = torch.where(flipped > 0.5, -across, across)
    down = (y - top) / height * 2 - 1
    points = x.shape[1]
    grid = torch.stack(
        [across[:, None, :].expand(-1, points, -1), down[:, :, None].expand(-1, -1, points)], dim=-1
    )  # (B, points, points, 2)
    return torch.where(overlaps[:, None, None, None], grid, torch.zeros_like(grid))


def sample_points(features: Tensor, grid: Tensor, padding: str = 'zeros') -> Tensor:
    """Sample a feature map at grid points, bilinearly.

    Args:
        features: Shape (B, C, h, w).
        grid: From `overlap_grids`. Shape (B, p, p, 2).
        padding: What points within half a cell of the border mix with it: 'zeros', or 'border',
            the border cell again, so that its features stay.

    Returns:
        Features at the points, dtype of the input. Shape (B, C, p, p).
    """
    grid = grid.to(features.dtype)
    return F.grid_sample(features, grid, mode='bilinear', padding_mode=padding, align_corners=False)


def pixel_to_pixel_loss(
    predicted_a: Tensor, target_a: Tensor, predicted_b: Tensor, target_b: Tensor, overlaps: Tensor
) -> Tensor:
    """P2P loss: each view's predicted pixels point where the other view's pixels are.

    Pairs without overlap contribute nothing: the mean is over the overlapping pairs of all ranks,
    scaled so that averaging gradients over ranks (DDP) gives the gradient of the global mean.

    Args:
        predicted_a: Predictor output of view a at the matched points. Shape (B, C, p, p).
        target_a: Projector output of view a at the points; no gradient flows into it.
        predicted_b: Predictor output of view b.
        target_b: Projector output of view b.
        overlaps: Which pairs overlap, bool. Shape (B,).

    Returns:
        -(cos(p_a, sg z_b) + cos(p_b, sg z_a)) / 2, float32, in [-1, 1] on one rank; zero where no
        pair overlaps on any rank. Shape ().

    Source: Gao et al. 2022, pixel-to-pixel alignment; the negative cosine of SimSiam.
    """
    similarity = _mean_cosine(predicted_a, target_b) + _mean_cosine(predicted_b, target_a)  # (B,)
    overlaps = overlaps.to(similarity.dtype)
    pairs = sum_over_ranks(overlaps.sum()).clamp_min(1)
    return -0.5 * (similarity * overlaps).sum() * world_size() / pairs


def _mean_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    cosine = F.cosine_similarity(predicted.float(), target.detach().float(), dim=1)  # (B, p, p)
    return cosine.mean(dim=(1, 2))
