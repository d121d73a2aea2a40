"""Balanced prototype assignment of the global views, with the feature queue where it is usable."""

import torch
from torch import Tensor

from luss_mm.functional.sinkhorn import sinkhorn
from luss_mm.models.feature_queue import FeatureQueue
from luss_mm.models.prototype_head import PrototypeHead


@torch.no_grad()
def assign_global_views(
    head: PrototypeHead,
    queue: FeatureQueue,
    embeddings: list[Tensor],
    scores: list[Tensor],
    epsilon: float,
    iterations: int,
) -> list[Tensor]:
    """Soft assignment of each global view; the batch then enters the queue.

    Args:
        head: Scores the queue's rows.
        queue: Its rows help to balance the assignment but get none themselves.
        embeddings: One a global view. Each (B, D).
        scores: One a view, global views first. Each (B, P).
        epsilon: See `sinkhorn`.
        iterations: See `sinkhorn`.

    Returns:
        One assignment a global view, float32. Each (B, P).
    """
    assignments = []
    for view, batch_scores in enumerate(scores[: len(embeddings)]):
        rows = batch_scores.detach()
        if queue.usable:
            rows = torch.cat([head.score(queue.own_slice(view)), rows])
        assignments.append(sinkhorn(rows, epsilon, iterations)[-len(batch_scores) :])
    queue.push([e.detach() for e in embeddings])
    return assignments
