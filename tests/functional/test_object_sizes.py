from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import torch

from luss_mm.functional.scores import SIZE_NAMES, instance_sizes, size_members


def slow_size(area, image_area):
    percent = ceil(Fraction(100 * area, image_area))
    for name, limit in zip(SIZE_NAMES, [5, 25, 50, 100], strict=True):
        if percent <= limit:
            return name


@pytest.mark.parametrize('image_area', [1, 7, 20, 100, 101, 187_500])
def test_sizes_equal_exact_fractions(image_area):
    areas = np.unique(np.linspace(1, image_area, 5000).astype(np.int64))
    sizes = instance_sizes(torch.from_numpy(areas), image_area)
    expected = [slow_size(int(area), image_area) for area in areas]
    assert [SIZE_NAMES[size] for size in sizes.tolist()] == expected


@pytest.mark.parametrize('share, index', [(5, 0), (25, 1), (50, 2)])
def test_a_limit_belongs_to_the_smaller_bucket_also_in_huge_images(share, index):
    image_area = 100 * 2592 * 1944  # one pixel more is less than float32 resolves
    at_limit = share * image_area // 100
    sizes = instance_sizes(torch.tensor([at_limit, at_limit + 1]), image_area)
    assert sizes.tolist() == [index, index + 1]


def slow_members(categories, areas):
    total, area_of = sum(areas), dict(zip(categories, areas, strict=True))
    rows = []
    for name in SIZE_NAMES:
        own = {c for c in categories if c > 0 and slow_size(area_of[c], total) == name}
        rows.append([c in own or (c == 0 and len(own) > 0) for c in categories])
    return rows


@pytest.mark.parametrize('num_categories', [1, 3, 7])
def test_members_equal_counting_by_hand(num_categories):
    for seed in range(40):
        random = np.random.default_rng(seed)
        categories = np.sort(random.choice(900, num_categories, replace=False))
        categories[0] *= seed % 2  # with and without "others"
        areas = (10 ** random.uniform(-0.3, 4, num_categories)).astype(np.int64)
        areas = areas.clip(1)
        members = size_members(torch.from_numpy(categories), torch.from_numpy(areas))
        expected = slow_members(categories.tolist(), areas.tolist())
        assert members.dtype == torch.bool and members.tolist() == expected


def test_others_alone_and_nothing_at_all_are_in_no_bucket():
    assert not size_members(torch.tensor([0]), torch.tensor([50])).any()
    nothing = torch.zeros(0, dtype=torch.int64)
    assert size_members(nothing, nothing).shape == (4, 0)
