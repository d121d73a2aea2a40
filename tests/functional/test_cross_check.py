import pytest
import torch

from luss_mm.functional.cross_check import category_cross_entropy, disputed_pixels


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


def slow_category_loss(logits, labels, chosen):
    total = 0.0
    for image in range(len(labels)):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                label = labels[image, y, x].item()
                if chosen[image, y, x] and label > 0:
                    categories = logits[image, 1:, y, x].double().softmax(0)
                    total -= categories[label - 1].log().item()
    return total


@pytest.mark.parametrize(('num_categories', 'dtype'), [(1, torch.float32), (300, torch.float16)])
def test_category_loss_equals_the_reference(num_categories, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, num_categories + 1, 4, 5, generator=generator).to(dtype)
    labels = torch.randint(num_categories + 1, (2, 4, 5), generator=generator)
    chosen = torch.rand(labels.shape, generator=generator) < 0.5
    expected = slow_category_loss(logits, labels, chosen)
    assert category_cross_entropy(logits, labels, chosen).item() == pytest.approx(expected, 1e-5)


def test_category_loss_says_nothing_about_background():
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    labels = torch.tensor([[[0, 1], [2, 1000]]])
    chosen = torch.tensor([[[True, True], [False, False]]])
    category_cross_entropy(logits, labels, chosen).backward()
    assert (logits.grad[:, 0] == 0).all()
    assert (logits.grad[0, 1:, 0, 1] != 0).all()
    assert (logits.grad[0, :, 1] == 0).all()
    none = category_cross_entropy(logits, labels, torch.zeros_like(chosen))
    assert none.item() == 0
