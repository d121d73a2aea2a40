import pytest
import torch

from luss_mm.datasets import LUSSDataset
from luss_mm.pipeline import image_batches
from luss_mm.pipeline.image_batches import ShardedBatches

SHAPES = [(3, 4, 6), (3, 6, 4), (3, 4, 4)]


class Images(torch.utils.data.Dataset):
    """Sample i is full of i and has one of three shapes, in an irregular order."""

    def __init__(self, number):
        self.number = number
        self.loaded = []

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        self.loaded.append(index)
        shape = SHAPES[index * index % 5 % 3]
        return dict(inputs=torch.full(shape, index), index=index, ori_shape=shape[1:])


def read(batches, finished=()):
    """{shard: its batches as lists of indices}; checks shapes and contents on the way."""
    shards = {}
    for shard, shard_batches in batches.iterate(set(finished), 'test'):
        shards[shard] = []
        for batch in shard_batches:
            torch.stack([sample['inputs'] for sample in batch])  # one shape
            assert all((s['inputs'] == s['index']).all() for s in batch)
            assert 1 <= len(batch) <= batches.batch_size
            shards[shard].append([sample['index'] for sample in batch])
    return shards


def set_rank(monkeypatch, rank, world):
    monkeypatch.setattr(image_batches, 'get_dist_info', lambda: (rank, world))


@pytest.mark.parametrize('number', [1, 7, 16, 23])
@pytest.mark.parametrize('num_workers', [0, 2])
def test_every_sample_once(number, num_workers):
    batches = ShardedBatches(Images(number), batch_size=3, shard_size=8, num_workers=num_workers)
    assert len(batches) == -(-number // 8)
    shards = read(batches)
    for shard, lists in shards.items():
        start, stop = batches.bounds(shard)
        assert sorted(i for batch in lists for i in batch) == list(range(start, stop))
    assert list(shards) == list(range(len(batches)))
    assert sum(batches.bounds(s)[1] - batches.bounds(s)[0] for s in shards) == number


def test_batches_are_full_where_they_can_be():
    batches = ShardedBatches(Images(64), batch_size=4, shard_size=64)
    lists = read(batches)[0]
    partial = [batch for batch in lists if len(batch) < 4]
    assert len(partial) <= len(SHAPES)


@pytest.mark.parametrize('world', [2, 3, 9])
def test_shards_are_the_same_on_any_number_of_ranks(monkeypatch, world):
    batches = ShardedBatches(Images(50), batch_size=3, shard_size=8)
    alone = read(batches)
    together = {}
    for rank in range(world):
        set_rank(monkeypatch, rank, world)
        own = read(batches)
        assert not set(own) & set(together)
        together |= own
    assert together == alone


def test_finished_shards_are_left_out_and_not_loaded():
    dataset = Images(50)
    batches = ShardedBatches(dataset, batch_size=3, shard_size=8)
    alone = read(batches)
    dataset.loaded.clear()
    rest = read(batches, finished={0, 3, 6})
    assert rest == {s: alone[s] for s in (1, 2, 4, 5)}
    assert sorted(dataset.loaded) == [i for s in rest for i in range(*batches.bounds(s))]
    assert read(batches, finished=range(7)) == {}


def test_ranks_need_not_see_the_same_finished_shards(monkeypatch):
    """Rank 1 looks when rank 0 has already finished its first shard: still nothing is missed."""
    batches = ShardedBatches(Images(50), batch_size=3, shard_size=8)
    alone = read(batches)
    together = {}
    for rank, finished in enumerate([{4}, {4, 0, 2}]):
        set_rank(monkeypatch, rank, 2)
        together |= read(batches, finished)
    assert together == {s: alone[s] for s in alone if s != 4}


@pytest.mark.usefixtures('mmseg_scope')
def test_images_of_a_data_set(data_root):
    pipeline = [dict(type='LoadBoundedImage'), dict(type='PackImage')]
    dataset = LUSSDataset(data_root, dict(img_path='train'), pipeline=pipeline)
    batches = ShardedBatches(dataset, batch_size=2, shard_size=4)
    samples = [s for _, shard in batches.iterate(set(), 'test') for batch in shard for s in batch]
    assert sorted(s['index'] for s in samples) == list(range(6))
    for sample in samples:
        assert set(sample) == {'inputs', 'index', 'ori_shape'}
        assert sample['inputs'].dtype == torch.uint8
        assert sample['inputs'].shape == (3, *sample['ori_shape'])
