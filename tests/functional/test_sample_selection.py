import numpy as np
import pytest

from luss_mm.functional.sample_selection import (
    filter_noise,
    retained_counts,
    sample_quality,
    select_small_losses,
)

LOSSES = np.array([0.5, 3.0, 0.1, 0.5, 0.9])  # mean 1.0
D1 = np.array([0.1, 0.2, 0.3, 0.0, 0.4, 0.2], np.float32)
D2 = np.array([0.9, 0.3, 0.6, 0.0, 0.4, 1.2], np.float32)


def slow_best(quality, fraction):
    """Picks the best remaining sample, the first of equals, again and again."""
    left, kept = list(range(len(quality))), [False] * len(quality)
    for _ in range(round(fraction * len(quality))):
        best = max(left, key=lambda i: (quality[i], -i))
        left.remove(best)
        kept[best] = True
    return kept


def slow_quality(d1, d2, rule):
    if rule == 'margin':
        return [float(b) - float(a) for a, b in zip(d1, d2, strict=True)]
    if rule == 'ratio':
        return [-float(a) / float(b) if b > 0 else -1.0 for a, b in zip(d1, d2, strict=True)]
    return [-float(a) for a in d1]


class TestSmallLosses:
    @pytest.mark.parametrize(
        'rule, value, expected',
        [
            ('mean', None, [0, 2, 3, 4]),
            ('absolute', 0.9, [0, 2, 3]),
            ('absolute', 0.5, [2]),  # strictly below
            ('quantile', 0.4, [0, 2]),  # of the two equal losses the first
            ('quantile', 0.6, [0, 2, 3]),
            ('quantile', 1, [0, 1, 2, 3, 4]),
        ],
    )
    def test_by_hand(self, rule, value, expected):
        kept = select_small_losses(LOSSES, rule, value)
        assert kept.dtype == bool and kept.shape == (5,)
        assert np.flatnonzero(kept).tolist() == expected

    @pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
    def test_the_first_loss_that_is_not_finite_is_named(self, value):
        losses = LOSSES.copy()
        losses[[2, 4]] = value
        with pytest.raises(ValueError, match=f'loss 2 of 5 is {value}'):
            select_small_losses(losses, 'quantile', 0.5)

    def test_nothing_kept_says_what_to_do(self):
        with pytest.raises(ValueError, match='absolute 0.1 .* from 0.1 to 3: raise the value'):
            select_small_losses(LOSSES, 'absolute', 0.1)
        with pytest.raises(ValueError, match='quantile 0.05 keeps none of 5'):
            select_small_losses(LOSSES, 'quantile', 0.05)

    @pytest.mark.parametrize(
        'rule, value, message',
        [
            ('median', None, "mean, quantile, absolute, got 'median'"),
            ('mean', 0.5, 'takes no value, got 0.5'),
            ('quantile', None, r'value in \(0, 1\], got None'),
            ('quantile', 0, r'\(0, 1\], got 0'),
            ('quantile', 1.01, r'\(0, 1\], got 1.01'),
            ('quantile', np.nan, 'got nan'),
            ('absolute', None, 'finite value, got None'),
            ('absolute', np.inf, 'finite value, got inf'),
        ],
    )
    def test_wrong_rules_are_named(self, rule, value, message):
        with pytest.raises(ValueError, match=message):
            select_small_losses(LOSSES, rule, value)


class TestRetainedCounts:
    @pytest.mark.parametrize('number, categories', [(0, 3), (40, 1), (2000, 919)])
    def test_equals_counting_by_hand(self, number, categories):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, categories, number).astype(np.int32)
        kept = rng.random(number) < 0.5
        total, retained = retained_counts(labels, kept, categories)
        assert total.dtype == retained.dtype == np.int64
        assert total.tolist() == [(labels == k).sum() for k in range(categories)]
        assert retained.tolist() == [(kept & (labels == k)).sum() for k in range(categories)]


class TestQualityAndFilter:
    @pytest.mark.parametrize(
        'rule, limit, expected',
        [
            ('margin', 0.29, [0, 2, 5]),
            ('margin', 0, [0, 1, 2, 3, 4, 5]),
            ('ratio', 0.5, [0, 2, 5]),  # the limit itself is kept
            ('ratio', 0.2, [0, 5]),
            ('distance', 0.25, [0, 1, 3, 5]),
            ('distance', 0, [3]),
        ],
    )
    def test_limits_by_hand(self, rule, limit, expected):
        kept = filter_noise(D1, D2, rule, limit=limit)
        assert kept.dtype == bool and np.flatnonzero(kept).tolist() == expected

    @pytest.mark.parametrize('rule', ['margin', 'ratio', 'distance'])
    @pytest.mark.parametrize('fraction', [0.01, 0.5, 0.665, 1.0])
    def test_equals_the_slow_reference(self, rule, fraction):
        rng = np.random.default_rng(1)
        d1 = (rng.integers(0, 8, 300) / 8).astype(np.float32)  # ties, exact in binary
        d2 = d1 + (rng.integers(0, 8, 300) / 8).astype(np.float32)
        quality = sample_quality(d1, d2, rule)
        np.testing.assert_array_equal(quality, slow_quality(d1, d2, rule))
        kept = filter_noise(d1, d2, rule, fraction)
        np.testing.assert_array_equal(kept, slow_best(quality, fraction))

    def test_one_centroid(self):
        infinite = np.full(6, np.inf, np.float32)
        assert (sample_quality(D1, infinite, 'margin') == np.inf).all()
        assert (sample_quality(D1, infinite, 'ratio') == 0).all()
        kept = filter_noise(D1, infinite, 'distance', 0.5)
        assert np.flatnonzero(kept).tolist() == [0, 1, 3]
        assert filter_noise(D1, infinite, 'margin', limit=5).all()

    def test_nothing_kept_says_what_to_do(self):
        for rule, limit, fix in [('margin', 1.5, 'lower'), ('ratio', 0.05, 'raise')]:
            with pytest.raises(ValueError, match=f'{rule} limit {limit} keeps none of 6.*{fix}'):
                filter_noise(D1, D2, rule, limit=limit)
        with pytest.raises(ValueError, match='keep_fraction 0.01 keeps none of 6.*raise'):
            filter_noise(D1, D2, 'margin', 0.01)

    def test_wrong_distances_are_named(self):
        bad = np.array([0.1, np.nan, np.nan])
        with pytest.raises(ValueError, match='d1 1 of 3 is nan: check the features'):
            sample_quality(bad, np.ones(3), 'margin')
        with pytest.raises(ValueError, match='d2 1 of 3 is nan'):
            sample_quality(np.zeros(3), bad, 'distance')
        with pytest.raises(ValueError, match='d1 0 of 1 is inf'):
            sample_quality(np.array([np.inf]), np.array([np.inf]), 'margin')
            sample_quality(np.zeros(3), np.zeros(2), 'margin')
