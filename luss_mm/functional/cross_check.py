"""Labels that a network which has not learnt them contradicts."""

from torch import Tensor


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
