from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from luss_mm.datasets import IterationSampler, SemiSampler, samplers


class Counts:
    """A data set of which only the numbers are known."""

    def __init__(self, labelled, unlabelled):
        self.num_labelled, self.num_unlabelled = labelled, unlabelled

    def __len__(self):
        return self.num_labelled + self.num_unlabelled


def set_rank(monkeypatch, rank, world_size):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, world_size))


def batches(sampler, number):
    found = []
    for i in range(number):
        passes, positions = sampler.draws_of(i)
        found.append((passes * len(sampler.dataset) + positions).tolist())
    return found


def joined(indices, length):
    """Pass and position of indices as one number."""
    return [index.epoch * length + index for index in indices]


def slow_order(length, seed, source, number):
    generator = np.random.default_rng([seed, source, number])
    order = generator.permutation(length).tolist()
    return order, int(generator.integers(1, length))


def slow_batch(counts, labelled, unlabelled, seed, iteration):
    """One rank's batch, draw by draw."""
    total, result, partners = len(counts), [], []
    for t in range(iteration * labelled, (iteration + 1) * labelled):
        number, place = t // counts.num_labelled, t % counts.num_labelled
        order, _ = slow_order(counts.num_labelled, seed, 0, number)
        result.append(number * total + order[place])
    for t in range(iteration * unlabelled, (iteration + 1) * unlabelled):
        n = counts.num_unlabelled
        number, place = t // n, t % n
        order, shift = slow_order(n, seed, 1, number)
        result.append(2 * number * total + counts.num_labelled + order[place])
        partner = order[(place + shift) % n]
        partners.append((2 * number + 1) * total + counts.num_labelled + partner)
    return result + partners


@pytest.mark.parametrize(
    ('counts', 'labelled', 'unlabelled'),
    [(Counts(7, 11), 2, 3), (Counts(2, 5), 5, 4), (Counts(3, 2), 1, 1), (Counts(2, 3), 1, 8)],
)
def test_equals_drawing_one_by_one(counts, labelled, unlabelled):
    sampler = SemiSampler(counts, labelled, unlabelled, partners=True, seed=3)
    expected = [slow_batch(counts, labelled, unlabelled, 3, i) for i in range(12)]
    assert batches(sampler, 12) == expected


@pytest.mark.parametrize('unlabelled', [2, 3, 50])
def test_a_partner_is_another_image_and_any_other(unlabelled):
    sampler = SemiSampler(Counts(1, unlabelled), 1, 4, partners=True, seed=1)
    batch = np.array(batches(sampler, 300)) % (1 + unlabelled)
    images, partners = batch[:, 1:5], batch[:, 5:]
    assert (images != partners).all() and (partners > 0).all()
    shares = np.bincount(partners.flat, minlength=1 + unlabelled)[1:]
    assert shares.min() >= 1200 // unlabelled - 4 and shares.max() <= 1200 // unlabelled + 4
    together = {tuple(pair) for pair in zip(images.flat, partners.flat, strict=True)}
    assert len(together) > min(unlabelled * (unlabelled - 1) - 1, 10 * unlabelled)


@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_together_see_the_batch_of_one_rank(monkeypatch, world_size):
    counts = Counts(5, 13)
    whole = SemiSampler(counts, 2 * world_size, 3 * world_size, partners=True, seed=2)
    parts = []
    for rank in range(world_size):
        set_rank(monkeypatch, rank, world_size)
        sampler = SemiSampler(counts, 2, 3, partners=True, seed=2)
        assert sampler.epoch_iterations == whole.epoch_iterations == -(-13 // (3 * world_size))
        parts.append(np.array(batches(sampler, 20)))
    joined = [np.concatenate([p[:, s] for p in parts], axis=1) for s in np.s_[:2, 2:5, 5:8]]
    np.testing.assert_array_equal(np.concatenate(joined, axis=1), batches(whole, 20))


@pytest.mark.parametrize('iterations', [0, 1, 5, 7])
def test_skipped_iterations_are_not_seen_again(iterations):
    sampler = SemiSampler(Counts(4, 9), 1, 2, seed=0)
    stream = np.concatenate(batches(sampler, 30)).tolist()
    sampler.skip(3 * iterations)
    seen = []
    for epoch in range(3):  # as mmengine counts them after a resume
        sampler.set_epoch(epoch)
        seen += joined(sampler, 13)
    assert seen == stream[3 * iterations :][: 3 * 15]
    with pytest.raises(ValueError, match='4 samples are no whole batches of 3'):
        sampler.skip(4)


@pytest.mark.parametrize(
    ('counts', 'settings', 'message'),
    [
        (Counts(1, 1), dict(partners=True), 'there is only one'),
        (Counts(1, 1), dict(labelled=0), 'labelled=0'),
        (Counts(1, 1), dict(unlabelled=-1), 'unlabelled=-1'),
        (Counts(1, 1), dict(epoch_iterations=0), 'epoch_iterations=0'),
    ],
)
def test_impossible_numbers_are_named(counts, settings, message):
    with pytest.raises(ValueError, match=message):
        SemiSampler(counts, **(dict(labelled=1, unlabelled=1, seed=0) | settings))


class TestIterationSampler:
    DATASET = range(7)

    @staticmethod
    def take(sampler, number):
        return joined(islice(sampler, number), 7)

    def test_endless_passes(self, monkeypatch):
        monkeypatch.setattr(samplers, 'BLOCK', 5)
        drawn = self.take(IterationSampler(self.DATASET, seed=0), 70)
        for number in range(10):
            part = drawn[7 * number : 7 * (number + 1)]
            assert sorted(part) == list(range(7 * number, 7 * number + 7))
        assert len({tuple(i % 7 for i in drawn[7 * n : 7 * n + 7]) for n in range(10)}) > 7

    def test_ranks_together_see_what_one_rank_sees(self, monkeypatch):
        whole = self.take(IterationSampler(self.DATASET, seed=4), 40)
        for rank in range(2):
            set_rank(monkeypatch, rank, 2)
            assert self.take(IterationSampler(self.DATASET, seed=4), 20) == whole[rank::2]

    def test_only_for_training_by_iterations(self, data_root):
        from torch.utils.data import DataLoader

        from luss_mm.datasets import LUSSDataset
        from luss_mm.engine.hooks import PreflightHook

        dataset = LUSSDataset(data_root, dict(img_path='train'))
        loader = DataLoader(dataset, 2, sampler=IterationSampler(dataset, seed=0))
        runner = SimpleNamespace(train_dataloader=loader, world_size=1, train_loop=None)
        with pytest.raises(ValueError, match='IterationSampler never ends an epoch'):
            PreflightHook().before_train(runner)
