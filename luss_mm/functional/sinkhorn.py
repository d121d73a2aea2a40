"""Balanced soft assignment of embeddings to prototypes (Sinkhorn-Knopp) over the global batch."""

import torch
from torch import Tensor

from luss_mm.functional.ranks import max_over_ranks, sum_over_ranks


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Assign samples to prototypes so that all prototypes get equal mass over the batch of all ranks.

    Every sum over samples is reduced over the ranks, so N ranks give what one rank gives for the
    concatenated batch. The work is done in float32 whatever the input's dtype.

    Args:
        scores: Similarity of each local sample to each prototype, any float dtype. Ranks may hold
            different numbers of samples. Shape (n, P).
        epsilon: Entropy regularisation; smaller is harder.
        iterations: Rounds of normalising prototypes, then samples.

    Returns:
        Assignment probabilities of the local samples, float32, rows sum to 1. Shape (n, P).

    Source: Caron et al., SwAV (NeurIPS 2020), eq. 3 and appendix A; Cuturi 2013.
    """
    scores = scores.float()
    # The largest score of all ranks becomes exp(0): no overflow, and the factor cancels.
    # An empty slice has no maximum of its own.
    largest = scores.max() if scores.numel() else scores.new_tensor(-torch.inf)
    plan = torch.exp((scores - max_over_ranks(largest)) / epsilon)  # (n, P)
    tiny = torch.finfo(plan.dtype).tiny
    for _ in range(iterations):
        prototype_mass = sum_over_ranks(plan.sum(dim=0))  # (P,)
        plan = plan / prototype_mass.clamp_min(tiny)
        plan = plan / plan.sum(dim=1, keepdim=True).clamp_min(tiny)
    return plan
