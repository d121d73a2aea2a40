import pytest
import torch

from luss_mm.functional.class_aware_loss import (
    class_pixels,
    decayed_sum,
    progressive_weights,
    recent_iou,
)
from tests.two_ranks import run_on_two_ranks

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


@pytest.mark.parametrize('classes', [1, 4, 300])
def test_counts_equal_counting_by_hand(classes):
    predicted, truth = random_maps(classes)
    counts = class_pixels(predicted, truth, classes, IGNORED)
    assert counts.dtype == torch.int64
    assert torch.equal(counts, slow_counts(predicted, truth, classes))


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


@pytest.mark.parametrize('classes, power', [(1, 8), (7, 8), (7, 1), (920, 0.5)])
def test_weights_equal_the_slow_minimum(classes, power):
    generator = torch.Generator().manual_seed(0)
    iou = torch.rand(classes, generator=generator, dtype=torch.float64)
    tags = torch.rand(6, classes, generator=generator) < 0.4
    tags[:, -1] = True
    weights = progressive_weights(iou, tags, power)
    assert weights.dtype == torch.float32
    expected = torch.tensor([slow_weight(iou, row, power) for row in tags])
    torch.testing.assert_close(weights, expected)


def test_an_image_without_tags_is_refused():
    with pytest.raises(ValueError, match=r'images \[0\] of the batch have no tag'):
        progressive_weights(torch.ones(3), torch.zeros(1, 3, dtype=torch.bool))


# ---------------------------------------------------------------- two processes


def run_counts(rank, batches):
    running = torch.zeros(3, 5, dtype=torch.float64)
    for predicted, truth in batches[rank]:
        running = decayed_sum(running, class_pixels(predicted, truth, 5, IGNORED))
    return running


def test_two_ranks_count_what_one_counts():
    whole = [random_maps(5, images=3, seed=i) for i in range(4)]
    split = [[[m[:1] for m in maps] for maps in whole], [[m[1:] for m in maps] for maps in whole]]
    first, second = run_on_two_ranks(run_counts, split)
    expected = run_counts(0, [whole])
    assert torch.equal(first, expected) and torch.equal(second, expected)
    assert not torch.equal(run_counts(0, split), expected)
