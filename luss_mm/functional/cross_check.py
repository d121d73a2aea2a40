"""Labels that a network which has not learnt them contradicts."""

from torch import Tensor
from torch.nn import functional as F


def disputed_pixels(labels: Tensor, foreground: Tensor, ignore_index: int) -> Tensor:
    """Pixels that the label calls object and the prediction background, or the other way round.

    Args:
        labels: Ids, 0 for background, integer. Shape (B, H, W).
        foreground: Where a network that has not learnt these labels predicts an object, bool.
            Shape (B, H, W).
        ignore_index: Label of pixels that count nowhere, which are not disputed.

    Returns:
        True where a label is disputed, bool. Shape (B, H, W).

    Source: confident learning (Northcutt, Jiang and Chuang 2021) leaves out samples whose labels
    out-of-sample predictions contradict; here pixels.
    """
    return ((labels > 0) != foreground) & (labels != ignore_index)


def category_cross_entropy(logits: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """Cross-entropy among the categories alone: which object it is, if it is one.

    Args:
        logits: Logits of background and the categories, float. Shape (B, K + 1, H, W).
        labels: Ids in [0, K] where `chosen`, int64. Shape (B, H, W).
        chosen: Pixels that count unless their label is 0, bool. Shape (B, H, W).

    Returns:
        Sum over the pixels, 0 without any, float32. Shape ().
    """
    counts = chosen & (labels > 0)
    categories = logits.movedim(1, -1)[counts][:, 1:]  # (N, K): few pixels are disputed
    return F.cross_entropy(categories.float(), labels[counts] - 1, reduction='sum')
