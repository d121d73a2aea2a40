import torch

from luss_mm.functional.cross_check import disputed_pixels


def reference(labels, foreground, ignore_index):
    disputed = torch.zeros_like(labels, dtype=torch.bool)
    for image in range(len(labels)):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                label = labels[image, y, x].item()
                is_object = label != 0
                if label != ignore_index and is_object != foreground[image, y, x].item():
                    disputed[image, y, x] = True
    return disputed


def test_equals_the_reference():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 1000, (3, 8, 9), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.5] = 0
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 1000
    foreground = torch.rand(labels.shape, generator=generator) < 0.5
    expected = reference(labels, foreground, 1000)
    assert expected.any()
    assert torch.equal(disputed_pixels(labels, foreground, 1000), expected)


def test_another_category_is_no_dispute():
    labels = torch.tensor([[[0, 1, 919, 1000]]])
    assert not disputed_pixels(labels, torch.tensor([[[False, True, True, True]]]), 1000).any()
