import math

import numpy as np
import pytest
import torch

from luss_mm.functional import distance_matching
from luss_mm.functional.distance_matching import (
    reference_vectors,
    vote_of_neighbours,
)
from luss_mm.functional.pixel_assignment import resize_nearest


def slow_cell(index, cells, pixels):
    """Which of `pixels` pixels the centre of cell `index` lies in."""
    return math.floor((index + 0.5) * pixels / cells)


def slow_references(features, mask):
    """Position by position in float64."""
    channels, height, width = features.shape
    sums = {}
    for y in range(height):
        for x in range(width):
            row = slow_cell(y, height, len(mask))
            column = slow_cell(x, width, len(mask[0]))
            category = int(mask[row][column])
            if category != 1000:
                total = sums.setdefault(category, np.zeros(channels))
                total += features[:, y, x].double().numpy() / (height * width)
    return {category: total / np.linalg.norm(total) for category, total in sorted(sums.items())}


def slow_vote(pixel, directions, categories, neighbours, temperature):
    """One pixel against all references, one at a time, in float64."""
    pixel = pixel.double().numpy()
    cosines = [float(pixel @ d.double().numpy()) / np.linalg.norm(pixel) for d in directions]
    nearest = sorted(range(len(cosines)), key=lambda i: (-cosines[i], i))[:neighbours]
    votes = {}
    for i in nearest:
        category = int(categories[i])
        votes[category] = votes.get(category, 0) + math.exp(cosines[i] / temperature)
    return min(votes, key=lambda category: (-votes[category], category))


def made_up(references=60, channels=12, size=(2, 7, 5), num_categories=6, seed=0):
    """Features and references that crowd around the directions of their categories."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor([0, 3, 255, 256, 511, 919])[:num_categories]
    centres = torch.randn(len(ids), channels, generator=generator)
    which = torch.randint(len(ids), (references,), generator=generator)
    directions = centres[which] + 2 * torch.randn(references, channels, generator=generator)
    pixels = centres[torch.randint(len(ids), size, generator=generator)]  # (B, h, w, C)
    pixels = pixels + 3 * torch.randn(*size, channels, generator=generator)
    directions = torch.nn.functional.normalize(directions, dim=1)
    return 3 * pixels.permute(0, 3, 1, 2), directions, ids[which]


@pytest.mark.parametrize('mask_size', [(21, 34), (6, 5), (4, 3), (50, 7)])
def test_references_equal_the_loop(mask_size):
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(8, 6, 5, generator=generator)
    ids = torch.tensor([0, 7, 255, 256, 919, 1000])
    mask = ids[torch.randint(len(ids), mask_size, generator=generator)]
    expected = slow_references(features, mask)
    directions, categories = reference_vectors(features, mask.int())
    assert categories.tolist() == list(expected) and 1000 not in expected
    assert len(expected) > 2 and categories.dtype == torch.int64
    np.testing.assert_allclose(directions.numpy(), list(expected.values()), atol=1e-6)


# The last two: all references there are, and more than there are.
@pytest.mark.parametrize('neighbours, temperature', [(1, 0.07), (10, 1.0), (60, 0.07), (80, 0.02)])
def test_vote_equals_the_loop(neighbours, temperature):
    features, directions, categories = made_up()
    labels = vote_of_neighbours(features, directions, categories, neighbours, temperature)
    assert labels.shape == (2, 7, 5) and labels.dtype == torch.int64
    expected = [
        [[slow_vote(f[:, y, x], directions, categories, neighbours, temperature) for x in range(5)]
         for y in range(7)]
        for f in features
    ]  # fmt: skip
    assert labels.tolist() == expected
    assert len(labels.unique()) == 6


def test_chunks_bound_the_work_space(monkeypatch):
    seen = []
    original = distance_matching._most_similar

    def spy(similarity, neighbours):
        seen.append(tuple(similarity.shape))
        return original(similarity, neighbours)

    monkeypatch.setattr(distance_matching, '_most_similar', spy)
    features, directions, categories = made_up(references=500, size=(3, 9, 8))
    vote_of_neighbours(
        features, directions, categories, max_bytes=10 * (500 * 24 + 100 * 12 + 12 * 8)
    )
    assert sum(n for n, _ in seen) == 3 * 9 * 8 and {r for _, r in seen} == {500}
    assert max(n for n, _ in seen) == 10


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    features, directions, categories = made_up()
    features = (features * 50).to(dtype)  # squares and sums would leave float16
    with torch.autocast('cpu', dtype=torch.bfloat16):
        labels = vote_of_neighbours(features, directions, categories)
        references = reference_vectors(features[0], torch.zeros(7, 5).long())[0]
    assert torch.equal(labels, vote_of_neighbours(features.float(), directions, categories))
    expected = reference_vectors(features[0].float(), torch.zeros(7, 5).long())[0]
    assert references.dtype == torch.float32 and torch.equal(references, expected)


def test_ignored_pixels_give_no_reference():
    features = torch.rand(8, 6, 5)
    directions, categories = reference_vectors(features, torch.full((12, 10), 1000))
    assert directions.shape == (0, 8) and categories.shape == (0,)
    with pytest.raises(ValueError, match='no references'):
        vote_of_neighbours(features[None], directions, categories)


def test_resized_labels_take_the_cell_of_their_centre():
    labels = torch.arange(35).view(5, 7)
    for height, width in [(5, 7), (20, 28), (3, 2), (11, 300)]:
        resized = resize_nearest(labels, (height, width))
        for y, x in np.ndindex(height, width):
            assert resized[y, x] == labels[slow_cell(y, height, 5), slow_cell(x, width, 7)]
