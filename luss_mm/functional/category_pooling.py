"""From a network's logits to object and category: which of them decides what."""

import torch
from torch import Tensor

from luss_mm.functional.guided_filter import box_mean


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

    Raises:
        ValueError: If there is no category.
    """
    if logits.shape[1] < 2:
        raise ValueError(f'logits {tuple(logits.shape)} hold no category beside class 0')
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
