import pytest
import torch

from luss_mm.functional.class_aware_loss import (
    class_pixels,
    decayed_sum,
    progressive_weights,
    recent_iou,
)

IGNORED = 1000


def random_maps(classes, images=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    predicted, truth = torch.randint(classes, (2, images, 9, 8), generator=generator)
    truth = torch.where(torch.rand(truth.shape, generator=generator) < 0.5, predicted, truth)
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = IGNORED
    return predicted, truth


def slow_counts(predicted, truth, classes):
    counts = [[0] * classes for _ in range(3)]
    for p, t in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if t != IGNORED:
            counts[0][t] += p == t
            counts[1][p] += 1
            counts[2][t] += 1
    return torch.tensor(counts)


def slow_weight(iou, tags, power=8):
    return min(iou[c].item() for c in range(len(iou)) if tags[c]) ** power


def test_ids_beyond_the_classes_are_named():
    predicted, truth = random_maps(4)
    truth[0, 0, 0] = 255
    with pytest.raises(ValueError, match='the mask has ids 0 to 255'):
        class_pixels(predicted, truth, 4, IGNORED)


def test_running_iou_equals_the_weighted_sum_over_iterations():
    running = torch.zeros(3, 5, dtype=torch.float64)
    history = [slow_counts(*random_maps(5, seed=i), 5).double() for i in range(30)]
    for counts in history:
        running = decayed_sum(running, counts.long(), 0.9)
    total = sum(counts * 0.9 ** (29 - i) for i, counts in enumerate(history))
    torch.testing.assert_close(running, total, rtol=1e-12, atol=0)
    expected = total[0] / (total[1] + total[2] - total[0])
    torch.testing.assert_close(recent_iou(running), expected, rtol=1e-12, atol=0)
    assert running.dtype == torch.float64 and 0.1 < expected.min() < expected.max() < 1


def test_unmet_and_missed_classes_have_no_iou_and_give_no_weight():
    running = torch.zeros(3, 4, dtype=torch.float64)
    running[:, 0] = 10  # perfect
    running[:, 1] = torch.tensor([0, 5, 0])  # only ever predicted
    running[:, 2] = torch.tensor([0, 0, 5])  # never found
    iou = recent_iou(running)
    assert iou.tolist() == [1, 0, 0, 0]
    tags = torch.eye(4, dtype=torch.bool)
    tags[1:, 0] = True
    assert progressive_weights(iou, tags).tolist() == [1, 0, 0, 0]


# ---------------------------------------------------------------- two processes
