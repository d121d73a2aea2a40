import pickle
import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import (
    ConcatDataset,
    RepeatDataset,
    default_collate,
)
from mmengine.dataset import sampler as mmengine_sampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Subset

from luss_mm.datasets import (
    EpochIndex,
    EpochSampler,
    IterationSampler,
    LUSSDataset,
    sample_randomness,
    samplers,
)

pytestmark = pytest.mark.usefixtures('mmseg_scope')

VIEWS = [dict(num=2, size=12, scale=(0.3, 1.0)), dict(num=1, size=8, scale=(0.05, 0.3))]
PIPELINE = [dict(type='LoadBoundedImage'), dict(type='MultiCrop', views=VIEWS)]
WORKERS = {
    'main process': dict(num_workers=0),
    'two workers': dict(num_workers=2),
    'two persistent workers': dict(num_workers=2, persistent_workers=True, prefetch_factor=3),
}


def make_dataset(data_root, seed=0):
    return LUSSDataset(data_root, dict(img_path='train'), seed=seed, pipeline=PIPELINE)


def make_loader(data_root, seed=0, workers='main process'):
    dataset = make_dataset(data_root, seed)
    return DataLoader(
        dataset,
        batch_size=2,
        sampler=EpochSampler(dataset, shuffle=True, seed=seed),
        collate_fn=default_collate,
        **WORKERS[workers],
    )


def draw_epoch(loader, epoch):
    """Everything that an epoch hands to the model, as bytes."""
    loader.sampler.set_epoch(epoch)
    return [
        [batch['crops'].numpy().tobytes(), *(v.numpy().tobytes() for v in batch['inputs'])]
        for batch in loader
    ]


def generator_states():
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), (kind, keys.tobytes(), *rest), torch.get_rng_state().tolist()


def test_no_two_epochs_draw_the_same(data_root):
    dataset = make_dataset(data_root)
    draws = [
        [dataset[EpochIndex(i, epoch)]['crops'].numpy().tobytes() for i in range(len(dataset))]
        for epoch in range(4)
    ]
    assert len({crop for epoch in draws for crop in epoch}) == 4 * len(dataset)
    # Views of one sample differ as well.
    crops = dataset[0]['crops']
    assert not torch.equal(crops[0], crops[1])


@pytest.mark.parametrize('workers', list(WORKERS))
def test_same_draws_with_any_workers(data_root, workers):
    reference = make_loader(data_root)
    loader = make_loader(data_root, workers=workers)
    torch.manual_seed(1)  # the loader's own seed must not matter
    epochs = [draw_epoch(loader, epoch) for epoch in (0, 1)]
    assert epochs == [draw_epoch(reference, epoch) for epoch in (0, 1)]
    assert not {b for batch in epochs[0] for b in batch} & {b for batch in epochs[1] for b in batch}


@pytest.mark.parametrize('workers', ['main process', 'two persistent workers'])
def test_a_resumed_run_draws_what_an_uninterrupted_one_draws(data_root, workers):
    uninterrupted = make_loader(data_root, workers=workers)
    epochs = [draw_epoch(uninterrupted, epoch) for epoch in range(3)]
    resumed = make_loader(data_root, workers=workers)
    assert draw_epoch(resumed, 2) == epochs[2]


def test_loading_in_the_main_process_leaves_the_generators_alone(data_root):
    dataset = make_dataset(data_root)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = generator_states()
    first = dataset[EpochIndex(0, 0)]
    assert generator_states() == before
    torch.rand(1), np.random.rand(), random.random()
    assert torch.equal(dataset[EpochIndex(0, 0)]['crops'], first['crops'])


def test_all_generators_start_from_seed_epoch_and_index():
    def draw(*key):
        with sample_randomness(*key):
            return random.random(), np.random.rand(), torch.rand(()).item()

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    draws = [draw(*key) for key in keys]
    for values in zip(*draws, strict=True):
        assert len(set(values)) == len(keys)
    assert [draw(*key) for key in keys] == draws


@pytest.mark.parametrize('shuffle', [True, False])
def test_indices_carry_the_epoch(shuffle):
    sampler = EpochSampler(range(5), shuffle=shuffle, seed=0)
    for epoch in (0, 3):
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert {i.epoch for i in indices} == {epoch} and sorted(indices) == [0, 1, 2, 3, 4]
        assert shuffle or indices == [0, 1, 2, 3, 4]


def test_two_ranks_share_an_epoch(monkeypatch):
    seen = []
    for rank in range(2):
        monkeypatch.setattr(mmengine_sampler, 'get_dist_info', lambda rank=rank: (rank, 2))
        sampler = EpochSampler(range(6), seed=0)
        sampler.set_epoch(2)
        seen += list(sampler)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5] and {i.epoch for i in seen} == {2}


def test_an_index_keeps_its_epoch_on_the_way_to_a_worker_and_through_wrappers():
    index = EpochIndex(7, 3)
    for made, value in ((pickle.loads(pickle.dumps(index)), 7), (index - 5, 2), (index % 4, 3)):
        assert (made, made.epoch, made.drawn) == (value, 3, 7)


def crops_of(loader):
    return [crop.numpy().tobytes() for batch in loader for crop in batch['crops']]


def loader_of(dataset, sampler, workers='main process'):
    config = dict(
        dataset=dataset,
        batch_size=2,
        sampler=sampler,
        collate_fn=dict(type='default_collate'),
        **WORKERS[workers],
    )
    return Runner.build_dataloader(config, seed=0)


@pytest.mark.parametrize('workers', list(WORKERS))
def test_a_sampler_without_epochs_draws_anew(data_root, workers):
    """Also where mmengine seeds workers alike in every pass, and the order stays."""
    dataset = make_dataset(data_root)
    loader = loader_of(dataset, dict(type='DefaultSampler', shuffle=False), workers)
    passes = [crops_of(loader) for _ in range(3)]
    assert len({crop for found in passes for crop in found}) == 3 * len(dataset)


def test_workers_do_not_repeat_each_other(data_root):
    """Both load the same image at the same places of their streams."""
    dataset = make_dataset(data_root)
    dataset.get_subset_([0])
    loader = loader_of(RepeatDataset(dataset, 8), dict(type='InfiniteSampler'), 'two workers')
    found = [crop.numpy().tobytes() for batch in islice(loader, 4) for crop in batch['crops']]
    assert len(set(found)) == 8


@pytest.mark.parametrize('sampler', [EpochSampler, IterationSampler])
@pytest.mark.parametrize('workers', ['main process', 'two persistent workers'])
def test_wrapped_images_are_drawn_exactly_and_no_repetition_alike(data_root, sampler, workers):
    def draw(wrapped, count=12):
        loader = loader_of(wrapped, dict(type=sampler.__name__), workers)
        return [c.numpy().tobytes() for b in islice(loader, count // 2) for c in b['crops']]

    wrappers = (
        lambda: RepeatDataset(make_dataset(data_root), 2),
        lambda: ConcatDataset([make_dataset(data_root), make_dataset(data_root)]),
    )
    for wrap in wrappers:
        found = draw(wrap())
        assert len(wrap()) == len(set(found)) == 12
        assert draw(wrap()) == found


@pytest.mark.parametrize('sampler', [EpochSampler, IterationSampler])
@pytest.mark.parametrize('num_inner', [0, 1])
def test_a_wrapper_that_drops_the_epoch_draws_anew_and_is_told(
    data_root, sampler, num_inner, monkeypatch
):
    told = []
    monkeypatch.setattr(samplers, 'print_log', lambda text, *_: told.append(text))
    dataset = make_dataset(data_root)
    for _ in range(num_inner):
        dataset = RepeatDataset(dataset, 1)
    loader_of(dataset, dict(type=sampler.__name__))
    assert not told
    loader = loader_of(Subset(dataset, [0, 1]), dict(type=sampler.__name__))
    assert [line.split()[0] for line in told] == ['Subset']
    found = [c.numpy().tobytes() for _ in range(3) for b in islice(loader, 1) for c in b['crops']]
    assert len(set(found)) == 6


def test_a_test_sample_is_always_the_same(data_root):
    names = dict(categories='folders', test_mode=True)
    dataset = LUSSDataset(data_root, dict(img_path='train'), pipeline=PIPELINE, **names)
    assert torch.equal(dataset[-1]['crops'], dataset[len(dataset) - 1]['crops'])
