import pytest
import torch
import torch.nn.functional as F

from luss_mm.functional.pixel_assignment import argmax_of_average


def slow_argmax_of_average(maps, size):
    resized = [
        F.interpolate(view[None].double(), size=size, mode='bilinear', align_corners=False)[0]
        for view in maps
    ]
    return torch.stack(resized).mean(dim=0).argmax(dim=0)


def views(num_classes, sizes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(num_classes, *size, generator=generator).to(dtype) for size in sizes]


@pytest.mark.parametrize('num_classes', [1, 2, 7, 40])
@pytest.mark.parametrize('sizes', [[(5, 6)], [(3, 4), (6, 8), (9, 12), (6, 8)]], ids=len)
@pytest.mark.parametrize('chunk', [1, 3, 40])
def test_equals_averaging_all_maps_at_full_size(num_classes, sizes, chunk):
    maps = views(num_classes, sizes)
    found = argmax_of_average(maps, (23, 31), max_bytes=chunk * 2 * 4 * 23 * 31)
    assert found.dtype == torch.int64
    assert torch.equal(found, slow_argmax_of_average(maps, (23, 31)))


def test_half_precision_is_averaged_in_float32():
    maps = [torch.tensor([2048.0, 2048.0]).half()[:, None, None]] + [
        torch.tensor([0.0, 1.0]).half()[:, None, None]
    ]
    assert argmax_of_average(maps, (1, 1)).item() == 1  # 2048 + 1 is 2048 in float16
