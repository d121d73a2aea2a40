"""Means over windows, and what is made of them: edges of a guide, categories of a neighbourhood."""

import torch
from torch import Tensor
from torch.nn import functional as F

GUIDE_CELLS = 64  # cells along the short side at which the linear model is fitted


def box_mean(maps: Tensor, radius: float | Tensor) -> Tensor:
    """Mean over the window of 2 r + 1 cells around each cell, cut off at the border.

    Integral images in float64, so the cost does not depend on the radius.

    Args:
        maps: Any float dtype. Shape (B, C, h, w).
        radius: r, in whole cells.

    Returns:
        The dtype of `maps`. Shape (B, C, h, w).
    """
    height, width = maps.shape[-2:]
    sums = F.pad(maps.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))  # (B, C, h + 1, w + 1)
    top, bottom = _window(height, radius, maps.device)
    left, right = _window(width, radius, maps.device)
    rows = sums[:, :, bottom] - sums[:, :, top]  # (B, C, h, w + 1)
    areas = (bottom - top)[:, None] * (right - left)  # (h, w)
    return ((rows[..., right] - rows[..., left]) / areas).to(maps.dtype)


def guided_filter(score: Tensor, guide: Tensor, radius: float, epsilon: float = 1e-4) -> Tensor:
    """Smooth a score so that it is, in every window, a linear function of the guide's colours.

    q = a . I + b with a = (cov(I) + epsilon U)^-1 cov(I, p) and b = mean(p) - a . mean(I) in each
    window, averaged over the windows that hold a pixel. The model is fitted on `GUIDE_CELLS` cells
    along the short side and applied at the guide's full resolution.

    Args:
        score: p, any float dtype, of any resolution. Shape (B, h, w).
        guide: I, RGB in [0, 1]. Shape (B, 3, H, W).
        radius: Radius of the windows, as a share of the short side.
        epsilon: Variance of colour below which a window counts as flat.

    Returns:
        Filtered score within the range of each image's scores, float32. Shape (B, H, W).

    Source: He, Sun, Tang, Guided Image Filtering (TPAMI 2013), eq. 14-16; He, Sun, Fast Guided
    Filter (2015) for the coarse fit.
    """
    height, width = size = guide.shape[-2:]
    shrink = max(1.0, min(size) / GUIDE_CELLS)
    small = max(1, round(height / shrink)), max(1, round(width / shrink))
    colours = F.interpolate(guide.float(), small, mode='area')  # (B, 3, h', w')
    target = F.interpolate(score[:, None].float(), small, mode='bilinear', align_corners=False)
    cells = max(1, round(radius * min(small)))
    first, second = torch.triu_indices(3, 3, device=guide.device)
    products = torch.cat(
        [colours, target, colours * target, colours[:, first] * colours[:, second]], 1
    )
    means = box_mean(products.double(), cells)
    mean_colour, mean_target, with_target, squares = means.split([3, 1, 3, 6], dim=1)
    covariance = means.new_empty(len(means), 3, 3, *small)
    covariance[:, first, second] = squares - mean_colour[:, first] * mean_colour[:, second]
    covariance[:, second, first] = covariance[:, first, second]
    covariance = covariance.permute(0, 3, 4, 1, 2)  # (B, h', w', 3, 3)
    covariance = covariance + epsilon * torch.eye(3, dtype=means.dtype, device=means.device)
    shared = (with_target - mean_colour * mean_target).permute(0, 2, 3, 1)  # (B, h', w', 3)
    slope = torch.linalg.solve(covariance, shared).permute(0, 3, 1, 2)  # (B, 3, h', w')
    offset = mean_target - (slope * mean_colour).sum(1, keepdim=True)
    fitted = box_mean(torch.cat([slope, offset], 1), cells).float()
    fitted = F.interpolate(fitted, size, mode='bilinear', align_corners=False)
    smooth = (fitted[:, :3] * guide).sum(1) + fitted[:, 3]  # (B, H, W)
    low, high = score.float().amin((1, 2), True), score.float().amax((1, 2), True)
    return smooth.clamp(low, high)


def _window(cells: int, radius: float | Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """First cell of each cell's window and the one after its last, int64 (cells,) each."""
    index = torch.arange(cells, device=device)
    return (index - radius).clamp(min=0).long(), (index + radius + 1).clamp(max=cells).long()


def pool_categories(logits: Tensor, window: float = 0.0) -> Tensor:
    """Logits by which a pixel is object or not as a whole, and takes the category around it.

    A plain argmax calls a pixel background as soon as the probability of an object is split among
    categories that the network cannot tell apart. Here class 0 gets 0 and category k

        l_k = log(P / (1 - P)) + log(q_k / max_j q_j), P = 1 - p_0, q_k = mean of p_k in the window

    so that the largest logit is a category exactly where P > 1/2, and the most probable one of the
    pixel's window.

    Args:
        logits: Class 0 is background. Shape (B, K + 1, h, w), K >= 1.
        window: Radius of the window, as a share of the short side; 0 is the pixel itself.

    Returns:
        float32. Shape (B, K + 1, h, w).
    """
    logits = logits.float()
    objectness = logits[:, 1:].logsumexp(dim=1, keepdim=True) - logits[:, :1]  # (B, 1, h, w)
    shares = logits.log_softmax(dim=1)[:, 1:]  # log p_k
    if window:
        # As tensors, so that a traced network asks for them at every size.
        sides = torch.stack(
            [s if isinstance(s, Tensor) else torch.scalar_tensor(s) for s in logits.shape[-2:]]
        )
        radius = (window * sides.min() + 0.5) // 1
        tiny = torch.finfo(torch.float32).tiny
        shares = box_mean(shares.exp(), radius).clamp_min(tiny).log()
    shares = shares - shares.amax(dim=1, keepdim=True)
    return torch.cat([torch.zeros_like(objectness), objectness + shares], dim=1)
