"""One convolution kernel in the place of several dilations of a smaller one."""

from collections.abc import Sequence

from torch import Tensor


def merge_dilated_kernels(
    weight: Tensor, dilations: Sequence[tuple[int, int]], shares: Tensor
) -> Tensor:
    """Kernel W' with W' * x = sum_i shares_i (W *_{dilations_i} x), all of them centred.

    Args:
        weight: W, float. Shape (O, I, h, w), h and w odd.
        dilations: Rows and columns of each branch, >= 1. Length R.
        shares: What each branch counts. Shape (R,).

    Returns:
        W' of the same dtype. Shape (O, I, (h - 1) max_rows + 1, (w - 1) max_columns + 1).

    Raises:
        ValueError: If a side is even, whose dilations have no common centre.

    Source: Gao et al. 2022 (RF-Next), merged branches.
    """
    kernel = weight.shape[2:]
    if any(side % 2 == 0 for side in kernel):
        raise ValueError(f'a kernel of {tuple(kernel)} has no centre to merge dilations about')
    sides = [
        (s - 1) * max(d) + 1 for s, d in zip(kernel, zip(*dilations, strict=True), strict=True)
    ]
    merged = weight.new_zeros(*weight.shape[:2], *sides)
    for dilation, share in zip(dilations, shares, strict=True):
        rows, columns = (_spread(k, s, d) for k, s, d in zip(kernel, sides, dilation, strict=True))
        merged[:, :, rows, columns] += share * weight
    return merged


def _spread(side: int, merged_side: int, dilation: int) -> slice:
    """Where the taps of a dilated kernel lie along an axis of the merged one."""
    first = (merged_side - 1 - (side - 1) * dilation) // 2
    return slice(first, merged_side - first, dilation)
