"""Balanced assignment of embeddings to prototypes, with the queue of earlier ones."""

import torch
from torch import Tensor, nn

from luss_mm.functional.ranks import gather_rows, world_size
from luss_mm.functional.swapped_prediction import sinkhorn
from luss_mm.models.heads import PrototypeHead


class FeatureQueue(nn.Module):
    """The newest embeddings of every global view, identical on all ranks.

    mmengine saves rank 0's buffers only, so each rank holds the gathered queue and scores its own
    slice of it. `FeatureQueueHook` saves it into the checkpoint and activates it.

    Args:
        length: Rows kept for each global view, over all ranks. 0 switches the queue off.
        channels: D of an embedding.
        num_views: Global views.
    """

    def __init__(self, length: int, channels: int, num_views: int = 2) -> None:
        super().__init__()
        self.length = length
        self.filled = 0
        self.active = False
        # Not in the state dict: a later stage has another length and must not inherit the rows.
        self.register_buffer('rows', torch.zeros(num_views, length, channels), persistent=False)

    @property
    def usable(self) -> bool:
        """Whether the queue is on and has been filled once."""
        return self.active and 0 < self.length == self.filled

    def own_slice(self, view: int) -> Tensor:
        """The rows of one view that this rank scores; together the ranks cover all rows."""
        rank = torch.distributed.get_rank() if world_size() > 1 else 0
        return self.rows[view, rank :: world_size()]

    @torch.no_grad()
    def push(self, embeddings: list[Tensor]) -> None:
        """Put the batch of all ranks in front and drop the oldest rows.

        Args:
            embeddings: One tensor a global view, same B on all ranks. Each (B, D).
        """
        if not self.active or self.length == 0:
            return
        gathered = torch.stack([gather_rows(e) for e in embeddings])  # (V, world * B, D)
        self.rows = torch.cat([gathered, self.rows], dim=1)[:, : self.length]
        self.filled = min(self.length, self.filled + gathered.shape[1])

    def state(self) -> dict:
        """Rows on the CPU and how many of them are filled."""
        # The rows are a view of a longer tensor, all of which torch.save would write.
        return dict(rows=self.rows.cpu().clone(), filled=self.filled)

    def restore(self, state: dict) -> None:
        """Take over a saved state.

        Raises:
            ValueError: If it has another shape than this queue.
        """
        if state['rows'].shape != self.rows.shape:
            raise ValueError(
                f'the checkpoint holds a feature queue of shape {tuple(state["rows"].shape)}, the '
                f'model one of {tuple(self.rows.shape)}: the queue length or the embedding size '
                'was changed. Start the stage again.'
            )
        self.rows = state['rows'].to(self.rows.device)
        self.filled = int(state['filled'])


@torch.no_grad()
def prototype_use(head: PrototypeHead, queue: FeatureQueue) -> Tensor:
    """How many embeddings of the queue are nearest to each prototype.

    Args:
        head: With P prototypes.
        queue: With the embeddings of V global views.

    Returns:
        Counts, int64 (V, P).
    """
    scores = (head.score(rows) for rows in queue.rows[:, : queue.filled])  # (L, P) each
    return torch.stack([s.argmax(dim=1).bincount(minlength=s.shape[1]) for s in scores])


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
        One assignment a global view, float32; each set of prototypes is balanced by itself. Each
        (B, P).
    """
    assignments = []
    for view, batch_scores in enumerate(scores[: len(embeddings)]):
        rows = batch_scores.detach()
        if queue.usable:
            rows = torch.cat([head.score(queue.own_slice(view)), rows])
        parts = [sinkhorn(part, epsilon, iterations) for (part,) in head.by_set([rows])]
        assignments.append(torch.cat(parts, dim=1)[-len(batch_scores) :])
    queue.push([e.detach() for e in embeddings])
    return assignments
