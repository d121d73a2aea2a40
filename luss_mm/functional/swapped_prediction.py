"""The swapped prediction of SwAV, and Sinkhorn's assignment for it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

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


def assignment_cross_entropy(
    assignment: Tensor, scores: Tensor, temperature: float = 0.1
) -> Tensor:
    """Cross entropy between a soft assignment and the softmax of scores.

    Args:
        assignment: Target probabilities q, rows sum to 1. Shape (B, P).
        scores: Similarities of the predicting view to the prototypes. Shape (B, P).
        temperature: Softmax temperature.

    Returns:
        Mean of -sum_p q_p log softmax(scores / temperature)_p, float32. Shape ().

    Source: SwAV eq. 2.
    """
    log_probability = F.log_softmax(scores.float() / temperature, dim=1)
    return -(assignment * log_probability).sum(dim=1).mean()


def swapped_prediction_loss(
    assignments: Sequence[Tensor], scores: Sequence[Tensor], temperature: float = 0.1
) -> Tensor:
    """SwAV loss: every other view predicts the assignment of each global view.

    Args:
        assignments: One per global view, in the order of the first views in `scores`. Each (B, P).
        scores: One per view, global views first. Each (B, P).
        temperature: Softmax temperature.

    Returns:
        Mean over global views i of the mean over views v != i of their cross entropy. Shape ().

    Raises:
        ValueError: If there is no second view to predict from.

    Source: SwAV eq. 1, generalised to several crops (section 3.2).
    """
    if len(scores) < 2:
        raise ValueError(f'swapped prediction needs two views or more, got {len(scores)}')
    per_global_view = []
    for i, assignment in enumerate(assignments):
        others = [
            assignment_cross_entropy(assignment, view, temperature)
            for v, view in enumerate(scores)
            if v != i
        ]
        per_global_view.append(torch.stack(others).mean())
    return torch.stack(per_global_view).mean()


def deep_to_shallow_loss(
    assignments: Sequence[Tensor], shallow_scores: Sequence[Tensor], temperature: float = 0.1
) -> Tensor:
    """D2S loss: the shallow features of one global view predict the deep assignment of the other.

    Args:
        assignments: Deep assignments of the two global views. Each (B, P).
        shallow_scores: Scores of the shallow features of the same two views. Each (B, P).
        temperature: Softmax temperature.

    Returns:
        Mean of the two cross entropies. Shape ().

    Raises:
        ValueError: If there are not exactly two global views.

    Source: Gao et al., Large-scale Unsupervised Semantic Segmentation, section on deep-to-shallow
    alignment.
    """
    if len(assignments) != 2 or len(shallow_scores) != 2:
        raise ValueError(
            f'deep-to-shallow alignment swaps two global views, got {len(assignments)} '
            f'assignments and {len(shallow_scores)} scores'
        )
    swapped = zip(reversed(assignments), shallow_scores, strict=True)
    return torch.stack([assignment_cross_entropy(q, s, temperature) for q, s in swapped]).mean()
