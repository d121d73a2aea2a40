import numpy as np
import pytest
import torch

from luss_mm.functional.scores import (
    f_beta_of_areas,
    joint_counts,
    matched_counts,
    rename_rows,
)


def slow_joint(predicted, truth, num_predicted, num_true):
    counts = np.zeros((num_predicted, num_true), dtype=np.int64)
    for p, t in zip(predicted.flatten(), truth.flatten(), strict=True):
        counts[p, t] += 1
    return counts


def slow_f_beta(predicted, truth, beta_squared):
    both = np.count_nonzero(predicted & truth)
    if both == 0:
        return 0.0
    precision, recall = both / np.count_nonzero(predicted), both / np.count_nonzero(truth)
    return (1 + beta_squared) * precision * recall / (beta_squared * precision + recall)


@pytest.mark.parametrize('num_predicted, num_true', [(1, 1), (4, 4), (3, 8), (301, 260)])
@pytest.mark.parametrize('dtype', [torch.int16, torch.int32, torch.int64])
def test_joint_counts_equal_counting_by_hand(num_predicted, num_true, dtype):
    random = np.random.default_rng(0)
    predicted = random.integers(0, num_predicted, (30, 41))
    truth = random.integers(0, num_true, (30, 41))
    counts = joint_counts(
        torch.from_numpy(predicted).to(dtype),
        torch.from_numpy(truth).to(dtype),
        num_predicted,
        num_true,
    )
    assert counts.dtype == torch.int64
    expected = slow_joint(predicted, truth, num_predicted, num_true)
    np.testing.assert_array_equal(counts.numpy(), expected)


def test_joint_counts_of_no_pixels():
    nothing = torch.empty(0, dtype=torch.int64)
    assert joint_counts(nothing, nothing, 3, 2).tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    'predicted, truth, message',
    [
        ([0, 1], [0, 1, 1], 'differ'),
    ],
)
def test_joint_counts_name_what_is_wrong(predicted, truth, message):
    with pytest.raises(ValueError, match=message):
        joint_counts(torch.tensor(predicted), torch.tensor(truth), 3, 2)


def test_renamed_counts_equal_counts_of_renamed_ids():
    random = np.random.default_rng(1)
    predicted, truth = random.integers(0, 8, 500), random.integers(0, 5, 500)
    mapping = np.array([0, 4, 2, 0, 1, 3, 0, 0])  # more clusters than categories
    counts = joint_counts(torch.from_numpy(predicted), torch.from_numpy(truth), 8, 5)
    expected = slow_joint(mapping[predicted], truth, 5, 5)
    np.testing.assert_array_equal(rename_rows(counts, mapping, 4).numpy(), expected)
    areas = rename_rows(counts.sum(dim=1), torch.from_numpy(mapping), 4)
    np.testing.assert_array_equal(areas.numpy(), expected.sum(axis=1))


def test_unmatched_rows_are_left_out():
    random = np.random.default_rng(2)
    predicted, truth = random.integers(0, 5, 300), random.integers(0, 4, 300)
    mapping = np.array([0, 4, 2, 4, 2])  # two unmatched, two that share a category
    counts = joint_counts(torch.from_numpy(predicted), torch.from_numpy(truth), 5, 4)
    expected = slow_joint(mapping[predicted], truth, 5, 4)[:4]
    np.testing.assert_array_equal(rename_rows(counts, mapping, 3).numpy(), expected)
    right = matched_counts(counts, mapping, 3)
    np.testing.assert_array_equal(right.numpy(), expected.diagonal())
    stacked = matched_counts(torch.stack([counts, 2 * counts]), mapping, 3)  # (4, 2)
    np.testing.assert_array_equal(stacked[:, 1].numpy(), 2 * expected.diagonal())


def f_beta(predicted, truth, beta_squared=0.3):
    areas = [torch.tensor(mask.sum()) for mask in (predicted & truth, predicted, truth)]
    return f_beta_of_areas(*areas, beta_squared).item()


@pytest.mark.parametrize('beta_squared', [0.3, 1.0])
def test_f_beta_equals_precision_and_recall(beta_squared):
    for seed in range(20):
        random = np.random.default_rng(seed)
        predicted, truth = random.random((2, 13, 17)) < random.random((2, 1, 1))
        score = f_beta(predicted, truth, beta_squared)
        assert score == pytest.approx(slow_f_beta(predicted, truth, beta_squared), abs=1e-12)


@pytest.mark.parametrize('predicted, truth', [(False, False), (True, False), (False, True)])
def test_f_beta_without_foreground_is_zero(predicted, truth):
    assert f_beta(np.full((3, 3), predicted), np.full((3, 3), truth)) == 0
