"""The contrastive loss of views of the same images."""

import torch
from torch import Tensor

from luss_mm.functional.ranks import gather_rows_with_gradient, rank, world_size


def info_nce_loss(embeddings: Tensor, temperature: float = 0.2) -> Tensor:
    """Tell each view's fellows of the same image from all views of other images.

    Args:
        embeddings: Unit vectors of V views of B images, V and B at least 2 (B of all ranks
            together), any float dtype. Every rank holds as many. Shape (V, B, D).
        temperature: By which cosines are divided.

    Returns:
        Mean over pairs (i, j) of views of one image of -log(exp(s_ij) / (exp(s_ij) + sum_n
        exp(s_in))) where n runs over the views of other images on all ranks, float32. The mean over
        N ranks, and the average of their gradients, is what one rank has on all images. Shape ().

    Raises:
        ValueError: If there is no second view or no second image.

    Source: Chen et al., SimCLR (ICML 2020), eq. 1, for several views an image; unlike there, the
    other views of the image itself are no negatives.
    """
    views, batch, _ = embeddings.shape
    if views < 2 or batch * world_size() < 2:
        raise ValueError(
            f'a contrastive loss needs two views of two images or more, got {views} views of '
            f'{batch * world_size()} images'
        )
    own = embeddings.float().flatten(0, 1)
    similarity = own @ gather_rows_with_gradient(own).T / temperature  # (VB, ranks * VB)
    row = torch.arange(len(own), device=own.device) + rank() * len(own)
    column = torch.arange(similarity.shape[1], device=own.device)
    same_image = _image_of(row, views, batch)[:, None] == _image_of(column, views, batch)
    positive = same_image & (row[:, None] != column)
    others = similarity.masked_fill(same_image, -torch.inf).logsumexp(dim=1, keepdim=True)
    return (torch.logaddexp(similarity, others) - similarity)[positive].mean()


def _image_of(row: Tensor, views: int, batch: int) -> Tensor:
    """Number of the image of a row; rows lie by rank, view and image."""
    return row // (views * batch) * batch + row % batch
