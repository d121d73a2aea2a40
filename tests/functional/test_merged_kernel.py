import pytest
import torch
from torch.nn import functional as F

from luss_mm.models.receptive_fields import merge_dilated_kernels


def sum_of_branches(images, weight, dilations, shares, **options):
    return sum(
        share
        * F.conv2d(
            images,
            weight,
            dilation=dilation,
            padding=[d * (k // 2) for d, k in zip(dilation, weight.shape[2:], strict=True)],
            **options,
        )
        for dilation, share in zip(dilations, shares.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    'kernel, dilations, merged_kernel',
    [
        ((3, 3), [(1, 1)], (3, 3)),
        ((7, 7), [(1, 1), (2, 2)], (13, 13)),
        ((3, 3), [(1, 1), (2, 2), (3, 3)], (7, 7)),
        ((3, 5), [(2, 1), (1, 3)], (5, 13)),
        ((1, 3), [(1, 1), (1, 2)], (1, 5)),
    ],
)
@pytest.mark.parametrize('stride', [1, 2])
def test_equals_the_sum_of_the_branches(kernel, dilations, merged_kernel, stride):
    torch.manual_seed(0)
    weight = torch.randn(4, 1, *kernel, dtype=torch.float64)
    shares = torch.rand(len(dilations), dtype=torch.float64)
    images = torch.randn(2, 4, 17, 19, dtype=torch.float64)
    merged = merge_dilated_kernels(weight, dilations, shares)
    assert merged.shape == (4, 1, *merged_kernel)
    ours = F.conv2d(
        images, merged, padding=[k // 2 for k in merged_kernel], stride=stride, groups=4
    )
    theirs = sum_of_branches(images, weight, dilations, shares, stride=stride, groups=4)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
