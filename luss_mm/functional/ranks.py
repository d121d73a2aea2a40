"""Sums and maxima over all ranks that are the identity in a single process."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

_alone: ContextVar[bool] = ContextVar('alone', default=False)


@contextmanager
def one_rank() -> Iterator[None]:
    """Within it this process is the only one: for work that the other ranks do not share."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def world_size() -> int:
    """Number of ranks, 1 without an initialised process group and within `one_rank`."""
    if _alone.get() or not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


def rank() -> int:
    """Number of this rank, 0 where `world_size` is 1."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Element-wise sum of a tensor over all ranks, without gradient.

    Args:
        tensor: Same shape and dtype on every rank.

    Returns:
        A new tensor that is equal on all ranks.
    """
    return _reduced(tensor, dist.ReduceOp.SUM)


def max_over_ranks(tensor: Tensor) -> Tensor:
    """Element-wise maximum of a tensor over all ranks, without gradient.

    Args:
        tensor: Same shape and dtype on every rank.

    Returns:
        A new tensor that is equal on all ranks.
    """
    return _reduced(tensor, dist.ReduceOp.MAX)


def gather_rows(tensor: Tensor) -> Tensor:
    """Concatenate the rows of all ranks in rank order, without gradient.

    Args:
        tensor: Same shape on every rank. Shape (n, ...).

    Returns:
        Shape (world_size * n, ...), equal on all ranks.
    """
    tensor = tensor.detach().contiguous()
    if world_size() == 1:
        return tensor.clone()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor)
    return torch.cat(parts)


def gather_rows_with_gradient(tensor: Tensor) -> Tensor:
    """As `gather_rows`, but differentiable: each rank's rows get the gradients of all ranks.

    Args:
        tensor: Same shape on every rank. Shape (n, ...).

    Returns:
        Shape (world_size * n, ...), equal on all ranks.
    """
    if world_size() == 1:
        return tensor
    from torch.distributed.nn.functional import all_gather  # not in every build of torch

    return torch.cat(all_gather(tensor.contiguous()))


def _reduced(tensor: Tensor, operation: dist.ReduceOp) -> Tensor:
    result = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(result, op=operation)
    return result
