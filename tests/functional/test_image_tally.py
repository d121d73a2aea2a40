import numpy as np
import pytest
import torch

from luss_mm.functional.image_tally import tally_image
from luss_mm.functional.scores import boundary_mask, joint_counts
from tests.functional.test_scores import slow_f_beta


def random_maps(num_clusters, num_categories, seed, size=(23, 31)):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, num_clusters + 1, (5, 7))
    predicted = np.kron(coarse, np.ones((5, 5), dtype=np.int64))[: size[0], : size[1]]
    coarse = random.integers(0, num_categories + 1, (5, 7))
    truth = np.kron(coarse, np.ones((5, 5), dtype=np.int64))[2 : size[0] + 2, 3 : size[1] + 3]
    truth[random.random(truth.shape) < 0.1] = 1000
    return torch.from_numpy(predicted), torch.from_numpy(truth)


def spread(tally, small, num_clusters, num_categories):
    """The tally's (p, q) counts as a full matrix."""
    full = torch.zeros(num_clusters + 1, num_categories + 1, dtype=torch.int64)
    full[tally.clusters[:, None], tally.categories] = small
    return full


@pytest.mark.parametrize('num_clusters, num_categories', [(1, 1), (5, 3), (300, 919)])
def test_equals_counting_with_full_matrices(num_clusters, num_categories):
    for seed in range(5):
        predicted, truth = random_maps(num_clusters, num_categories, seed)
        tally = tally_image(predicted, truth, num_clusters, num_categories, 1000, radius=2)
        size = num_clusters + 1, num_categories + 1
        known = truth != 1000
        predicted_band, true_band = boundary_mask(predicted, 2), boundary_mask(truth, 2)
        for chosen, small in [
            (known, tally.joint()),
            (known & predicted_band & true_band, tally.pixels[:, 1, :, 1]),
            (known & predicted_band, tally.pixels[:, 1].sum(dim=2)),
            (known & true_band, tally.pixels[..., 1].sum(dim=1)),
        ]:
            expected = joint_counts(predicted[chosen], truth[chosen], *size)
            actual = spread(tally, small, num_clusters, num_categories)
            np.testing.assert_array_equal(actual.numpy(), expected.numpy())

        known_predicted, known_truth = predicted[known], truth[known]
        assert tally.categories.tolist() == known_truth.unique().tolist()
        present = tally.clusters[tally.cluster_presence()]
        assert present.tolist() == known_predicted.unique().tolist()
        dominant = tally.clusters[tally.dominant_cluster()].tolist() or [0]
        areas = np.bincount(known_predicted, minlength=2)
        assert dominant == [1 + areas[1:].argmax() if areas[1:].any() else 0]
        expected = slow_f_beta((known_predicted > 0).numpy(), (known_truth > 0).numpy(), 0.3)
        assert float(tally.f_beta()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32])
def test_dtype_changes_nothing(dtype):
    predicted, truth = random_maps(250, 250, seed=0)
    truth[truth == 1000] = 251  # fits into uint8
    expected = tally_image(predicted, truth, 250, 250, 251, radius=2)
    actual = tally_image(predicted.to(dtype), truth.to(dtype), 250, 250, 251, radius=2)
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


@pytest.mark.parametrize(
    'predicted, true, message',
    [
        (4, 0, r'prediction has ids 0 to 4, outside of \[0, 3\] \(num_clusters=3\)'),
        (-1, 0, 'prediction has ids -1 to 0'),
        (0, 3, r'mask has ids 0 to 3, outside of \[0, 2\] \(num_categories=2, ignore_index=1000\)'),
        (0, 255, 'mask has ids 0 to 255'),
        (0, -1, 'mask has ids -1 to 0'),
    ],
)
def test_ids_out_of_range_are_named(predicted, true, message):
    maps = torch.zeros(2, 4, 4, dtype=torch.int64)
    maps[:, 1, 1] = torch.tensor([predicted, true])
    maps[1, 0, 0] = 1000
    with pytest.raises(ValueError, match=message):
        tally_image(*maps, 3, 2, 1000, radius=1)


def test_renamed_equals_the_tally_of_renamed_clusters_with_bands_from_before():
    predicted, truth = random_maps(6, 4, seed=5)
    mapping = torch.tensor([0, 4, 2, 0, 2, 5, 5])
    tally = tally_image(predicted, truth, 6, 4, 1000, radius=2)
    renamed = tally.renamed(mapping)
    known = truth != 1000
    in_band = known & boundary_mask(predicted, 2)
    assert renamed.clusters.tolist() == mapping[predicted].unique().tolist()
    assert torch.equal(renamed.categories, tally.categories)
    for chosen, small in [(known, renamed.joint()), (in_band, renamed.pixels[:, 1].sum(dim=2))]:
        expected = joint_counts(mapping[predicted[chosen]], truth[chosen], 6, 5)
        np.testing.assert_array_equal(spread(renamed, small, 5, 4).numpy(), expected.numpy())
    foreground = (mapping[predicted[known]] > 0).numpy(), (truth[known] > 0).numpy()
    assert float(renamed.f_beta()) == pytest.approx(slow_f_beta(*foreground, 0.3), abs=1e-12)
