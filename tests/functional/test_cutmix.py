import numpy as np
import pytest
import torch

from luss_mm.functional.consistency import box_masks, paste_boxes

BOXES = torch.tensor([[2, 1, 3, 4], [0, 0, 0, 0], [0, 0, 7, 6], [6, 5, 1, 1]])


def slow_paste(images, others, boxes):
    mixed = images.clone()
    for i, (left, top, width, height) in enumerate(boxes.tolist()):
        for y in range(top, min(top + height, images.shape[-2])):
            for x in range(left, min(left + width, images.shape[-1])):
                mixed[i, ..., y, x] = others[i, ..., y, x]
    return mixed


def numbered(shape, dtype, start=0):
    count = int(np.prod(shape))
    return (
        (torch.arange(start, start + count) % (2 if dtype == torch.bool else 100))
        .view(shape)
        .to(dtype)
    )


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.float16, torch.float32])
@pytest.mark.parametrize('shape', [(4, 3, 6, 7), (4, 6, 7)])
def test_equals_pasting_pixel_by_pixel(shape, dtype):
    images, others = numbered(shape, dtype), numbered(shape, dtype, start=50)
    before = images.clone(), others.clone()
    mixed = paste_boxes(images, others, BOXES)
    assert mixed.dtype == dtype and mixed.data_ptr() != images.data_ptr()
    assert torch.equal(mixed, slow_paste(images, others, BOXES))
    assert torch.equal(mixed[1], images[1]) and torch.equal(mixed[2], others[2])
    assert torch.equal(images, before[0]) and torch.equal(others, before[1])


def test_boxes_over_the_border_are_cut_off_and_half_empty_ones_paste_nothing():
    boxes = torch.tensor([[5, 4, 10, 10], [-2, -3, 4, 5], [2, 2, 3, 0], [2, 2, 0, 3]])
    masks = box_masks(boxes, 6, 7)
    assert masks.sum(dim=(1, 2)).tolist() == [4, 4, 0, 0]
    assert masks[0, 4:, 5:].all() and masks[1, :2, :2].all()


def test_gradients_pass_to_the_one_that_is_seen():
    images = torch.rand(4, 2, 6, 7, requires_grad=True)
    others = torch.rand(4, 2, 6, 7, requires_grad=True)
    paste_boxes(images, others, BOXES).sum().backward()
    inside = box_masks(BOXES, 6, 7)[:, None].expand(4, 2, 6, 7).float()
    assert torch.equal(others.grad, inside) and torch.equal(images.grad, 1 - inside)


@pytest.mark.parametrize(
    ('images', 'others', 'boxes', 'message'),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 5), BOXES[:2], 'one shape and dtype'),
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4).long(), BOXES[:2], 'one shape and dtype'),
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), BOXES, r'boxes \(B, 4\)'),
        (torch.zeros(2, 4), torch.zeros(2, 4), BOXES[:2], r'\(B, H, W\)'),
    ],
)
def test_what_does_not_fit_is_named(images, others, boxes, message):
    with pytest.raises(ValueError, match=message):
        paste_boxes(images, others, boxes)
