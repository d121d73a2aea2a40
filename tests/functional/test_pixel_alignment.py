import numpy as np
import pytest
import torch

from luss_mm.functional.alignment import overlap_grids, pixel_to_pixel_loss, sample_points
from tests.functional.slow_alignment import slow_grid, slow_loss, slow_points, slow_sample

IMAGE = (90, 130)  # height, width


def random_crops(count, seed=0, height=IMAGE[0], width=IMAGE[1]):
    generator = np.random.default_rng(seed)
    crops = []
    for _ in range(count):
        w, h = generator.integers(8, width // 2), generator.integers(8, height)
        left, top = generator.integers(width - w + 1), generator.integers(height - h + 1)
        crops.append((left, top, w, h, generator.integers(2)))
    return torch.tensor(np.array(crops), dtype=torch.float32)


def difference(result, expected):
    return (
        (torch.as_tensor(result).double() - torch.as_tensor(expected).double()).abs().max().item()
    )


# ---------------------------------------------------------------- points


@pytest.mark.parametrize(
    'points, placement', [(2, 'edge'), (7, 'edge'), (1, 'centre'), (2, 'centre'), (7, 'centre')]
)
def test_grids_equal_loops(points, placement):
    crops_a, crops_b = random_crops(60, seed=1), random_crops(60, seed=2)
    grid_a, grid_b, overlaps = overlap_grids(crops_a, crops_b, points, placement)
    assert grid_a.shape == grid_b.shape == (60, points, points, 2) and overlaps.dtype == torch.bool
    for i in range(60):
        image_points = slow_points(crops_a[i].tolist(), crops_b[i].tolist(), points, placement)
        assert overlaps[i] == (image_points is not None)
        for grid, crops in ((grid_a, crops_a), (grid_b, crops_b)):
            if image_points is None:
                assert (grid[i] == 0).all()
                continue
            expected = np.array(slow_grid(crops[i].tolist(), image_points))
            assert difference(grid[i], expected.reshape(points, points, 2)) < 2e-6
            assert grid[i].abs().max() < 1 + 1e-6
    assert 5 < overlaps.sum() < 55  # otherwise one of the cases was not tested


@pytest.mark.parametrize('points, placement', [(1, 'edge'), (7, 'corner')])
def test_impossible_placements_are_refused(points, placement):
    crops = random_crops(2)
    with pytest.raises(ValueError, match=f'not {points} at {placement!r}'):
        overlap_grids(crops, crops, points, placement)


@pytest.mark.parametrize(
    'crop, overlap',
    [
        ((10, 10, 20, 20), True),  # the same
        ((15, 15, 2, 2), True),  # inside
        ((29, 29, 5, 5), True),  # one pixel
        ((30, 10, 20, 20), False),  # an edge in common
        ((30, 30, 5, 5), False),  # a corner in common
        ((10, 31, 20, 20), False),
        ((50, 10, 20, 20), False),
    ],
)
def test_what_counts_as_overlap(crop, overlap):
    crops_a = torch.tensor([[10, 10, 20, 20, 0]])  # integers are fine
    crops_b = torch.tensor([[*crop, 1.0]])
    for pair in ((crops_a, crops_b), (crops_b, crops_a)):
        grid_a, grid_b, overlaps = overlap_grids(*pair)
        assert overlaps.tolist() == [overlap]
        assert torch.isfinite(grid_a).all() and torch.isfinite(grid_b).all()


@pytest.mark.parametrize('padding', ['zeros', 'border'])
@pytest.mark.parametrize('rows, columns', [(7, 7), (4, 9), (1, 1)])
def test_sampling_equals_loops(rows, columns, padding):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, rows, columns, generator=generator)
    grid = 2 * torch.rand(3, 5, 5, 2, generator=generator) - 1
    grid[:, 0, :, 0], grid[:, :, 0, 1], grid[:, 4, :, 1] = -1, -1, 1  # on the borders
    sampled = sample_points(features, grid, padding)
    assert sampled.shape == (3, 4, 5, 5)
    for i in range(3):
        expected = slow_sample(features[i], grid[i].flatten(0, 1).tolist(), padding)
        assert difference(sampled[i].flatten(1).T, expected) < 2e-6


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_sampling_keeps_the_precision_of_the_features(dtype):
    features = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    grid, _, _ = overlap_grids(random_crops(2, seed=6), random_crops(2, seed=6))
    sampled = sample_points(features.to(dtype), grid)
    assert sampled.dtype == dtype
    assert difference(sampled, sample_points(features, grid)) < 16 * torch.finfo(dtype).eps


# ---------------------------------------------------------------- loss


def pixel_maps(pairs, seed=0, channels=5, points=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(pairs, channels, points, points, generator=generator) for _ in range(4)]


def loss_and_gradients(maps, overlaps):
    leaves = [m.clone().requires_grad_() for m in maps]
    loss = pixel_to_pixel_loss(*leaves, overlaps)
    loss.backward()
    return loss.detach(), [leaf.grad for leaf in leaves]


@pytest.mark.parametrize('overlaps', [[True], [True] * 4, [True, False, True, False, False]])
def test_loss_equals_loops(overlaps):
    maps, overlaps = pixel_maps(len(overlaps)), torch.tensor(overlaps)
    loss = pixel_to_pixel_loss(*maps, overlaps)
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert difference(loss, slow_loss(*maps, overlaps)) < 1e-6


def test_targets_get_no_gradient():
    _, (predicted_a, target_a, predicted_b, target_b) = loss_and_gradients(
        pixel_maps(3), torch.tensor([True, True, True])
    )
    assert target_a is None and target_b is None
    assert predicted_a.abs().sum() > 0 and predicted_b.abs().sum() > 0


def test_no_pair_at_all_is_zero_with_a_gradient_of_zero():
    loss, gradients = loss_and_gradients(pixel_maps(3), torch.zeros(3, dtype=torch.bool))
    assert loss == 0 and all((g == 0).all() for g in gradients[::2])


# ---------------------------------------------------------------- two processes
