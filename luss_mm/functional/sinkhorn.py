"""Balanced soft assignment of embeddings to prototypes (Sinkhorn-Knopp) over the global batch."""

import torch
from torch import Tensor

from luss_mm.functional.ranks import max_over_ranks, sum_over_ranks


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Assign samples to prototypes so that all prototypes get equal mass over all ranks' batch.

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
    # In logarithms: exp(score / epsilon) itself leaves float32's range where epsilon is small or a
    # sample or prototype fits nowhere, and its row or column would silently become zeros.
    log_plan = scores.float() / epsilon  # (n, P)
    for _ in range(iterations):
        log_plan = log_plan - _log_prototype_mass(log_plan)
        log_plan = log_plan - log_plan.logsumexp(dim=1, keepdim=True)
    return log_plan.exp()


def _log_prototype_mass(log_plan: Tensor) -> Tensor:
    """Logarithm of each prototype's mass over the samples of all ranks. (n, P) -> (P,)."""
    no_sample = log_plan.new_full(log_plan.shape[1:], -torch.inf)  # an empty slice has no maximum
    largest = max_over_ranks(log_plan.amax(dim=0) if len(log_plan) else no_sample)
    return largest + sum_over_ranks((log_plan - largest).exp().sum(dim=0)).log()
