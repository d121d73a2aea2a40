"""Pieces of an interrupted output that were cut short are found and made anew, and no others."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from luss_mm.models import ViewsPreprocessor
from luss_mm.pipeline import extract_features as extraction
from luss_mm.pipeline import image_scores as scoring
from luss_mm.pipeline.extract_features import extract_features
from luss_mm.pipeline.generate_labels import (
    finish_shard,
    finished_shards,
    label_path,
    save_label_map,
)
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.image_scores import ScoringRule, score_images
from tests.pipeline.test_image_scores import make_classifier

NUMBER, SHARD = 10, 3  # four shards, the last of one image


class Noise(Dataset):
    """Noise images; `loaded` notes which were asked for."""

    def __init__(self):
        self.loaded = []

    def __len__(self):
        return NUMBER

    def __getitem__(self, index):
        self.loaded.append(index)
        generator = torch.Generator().manual_seed(index)
        inputs = torch.randint(256, (3, 32, 32), generator=generator, dtype=torch.uint8)
        return dict(inputs=inputs, index=index, ori_shape=(32, 32), class_label=index % 4)

    def relative_path(self, index):
        return f'category {index % 2}/{index}.JPEG'


class Averages(torch.nn.Module):
    """Stands for a network: colour averages as embeddings, brightness as foreground score."""

    data_preprocessor = ViewsPreprocessor()

    def forward(self, images, features=None):
        return images.mean((2, 3)), torch.sigmoid(images.mean(1))


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def features(root, dataset):
    batches = ShardedBatches(dataset, 2, SHARD)
    found = extract_features(root / 'features', Averages(), batches, {}, {})
    return np.array(found.embeddings), found.score_counts


def scores(root, dataset):
    torch.manual_seed(0)
    batches = ShardedBatches(dataset, 2, SHARD)
    directory = score_images(root / 'scores', make_classifier(), batches, ScoringRule(), {})
    return np.load(directory / 'losses.npy'), np.load(directory / 'labels.npy')


@pytest.mark.parametrize(
    'make, module, pattern',
    [
        (features, extraction, '*.partial-*/shard-000001.npy'),
        (features, extraction, '*.partial-*/shard-000001.counts.npy'),
        (scores, scoring, '*.partial-*/.shard-000001.npy'),
    ],
    ids=['features', 'counts', 'scores'],
)
def test_a_cut_shard_is_made_anew(tmp_path, monkeypatch, make, module, pattern):
    expected = make(tmp_path / 'whole', Noise())

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, '_join_shards', interrupt)
        make(tmp_path, Noise())
    (piece,) = tmp_path.glob(pattern)
    cut(piece)
    dataset = Noise()
    for first, second in zip(expected, make(tmp_path, dataset), strict=True):
        np.testing.assert_array_equal(first, second)
    assert dataset.loaded == [3, 4, 5]


@pytest.mark.parametrize(
    'make, module, file',
    [
        (features, extraction, 'embeddings.npy'),
        (scores, scoring, 'losses.npy'),
        (scores, scoring, 'labels.npy'),
    ],
)
def test_a_cut_join_of_shards_is_made_anew(tmp_path, monkeypatch, make, module, file):
    expected = make(tmp_path / 'whole', Noise())
    join = module._join_shards

    def interrupt(*args):
        join(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, '_join_shards', interrupt)
        make(tmp_path, Noise())
    (piece,) = tmp_path.glob(f'*.partial-*/{file}')
    cut(piece)
    for first, second in zip(expected, make(tmp_path, Noise()), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture
def labelled(tmp_path):
    """A folder with the label maps of three of four shards."""
    batches = ShardedBatches(Noise(), 2, SHARD)
    for shard in range(3):
        for index in range(*batches.bounds(shard)):
            labels = np.random.default_rng(index).integers(0, 9, (20, 20))
            save_label_map(label_path(tmp_path, batches.dataset, index), labels)
        finish_shard(tmp_path, batches, shard, dict(images=SHARD))
    return tmp_path, batches


def test_whole_shards_of_label_maps_are_kept(labelled):
    assert finished_shards(*labelled) == {0, 1, 2}


@pytest.mark.parametrize('damage', ['cut', 'empty', 'gone', 'sizes cut short', 'no sizes'])
def test_a_shard_with_a_damaged_label_map_is_made_anew(labelled, damage):
    folder, batches = labelled
    path = label_path(folder, batches.dataset, 4)
    if damage == 'cut':
        cut(path)
    elif damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'gone':
        path.unlink()
    elif damage == 'sizes cut short':
        cut(folder / '.finished-shards/1.sizes.json')
    else:
        (folder / '.finished-shards/1.sizes.json').unlink()
    assert finished_shards(folder, batches) == {0, 2}


def test_cut_counts_of_a_shard_are_made_anew(labelled):
    folder, batches = labelled
    cut(folder / '.finished-shards/1.json')
    assert finished_shards(folder, batches) == {0, 2}
