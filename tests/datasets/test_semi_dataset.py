import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from luss_mm.datasets import EpochIndex
from tests.datasets.semi_layout import LABELLED, UNLABELLED, semi_config, write_split

pytestmark = pytest.mark.usefixtures('mmseg_scope')

CROP = [dict(type='RandomCrop', crop_size=(8, 8), ignore_index=1000)]
TOTAL = LABELLED + UNLABELLED


@pytest.fixture
def config(tmp_path):
    views = dict(weak=CROP, strong=CROP)
    return semi_config(tmp_path, write_split(tmp_path), dict(labelled=CROP), views)


def same(first, other):
    """Whether two samples have the same images."""
    return first['inputs'].keys() == other['inputs'].keys() and all(
        torch.equal(image, other['inputs'][name]) for name, image in first['inputs'].items()
    )


def test_labelled_images_first_each_with_its_pipeline(config, tmp_path):
    dataset = DATASETS.build(config)
    assert (len(dataset), dataset.num_labelled, dataset.num_unlabelled) == (TOTAL, 3, 5)
    for index in range(TOTAL):
        sample, has_mask = dataset[index], index < LABELLED
        assert list(sample['inputs']) == (['labelled'] if has_mask else ['weak', 'strong'])
        for view in sample['data_samples'].values():
            assert view.has_mask is has_mask
            assert view.img_path == f'{tmp_path}/images/{index}.jpg'
        assert dataset.relative_path(index) == f'images/{index}.jpg'
        assert (
            dataset.get_data_info(index)
            .get('seg_map_path', '')
            .endswith(f'{index}.png' if has_mask else '')
        )
    assert dataset.metainfo == dataset.parts[0].metainfo


def test_samples_depend_on_pass_and_position_alone(config):
    dataset = DATASETS.build(config)
    for position in (1, LABELLED + 1):
        passes = [dataset[EpochIndex(position, number)] for number in range(4)]
        assert not any(same(a, b) for i, a in enumerate(passes) for b in passes[:i])
        assert same(DATASETS.build(config)[EpochIndex(position, 2)], passes[2])
        assert not same(dataset[position], dataset[position])  # nothing tells the pass
    views = dataset[LABELLED]['inputs']
    assert not torch.equal(views['weak'], views['strong'])


def test_labelled_images_are_revisited_with_masks_as_unlabelled_ones(config):
    dataset = DATASETS.build(dict(config, revisit_labelled=True))
    assert (len(dataset), dataset.num_labelled, dataset.num_unlabelled) == (TOTAL + 3, 3, 8)
    for index in range(LABELLED):
        again = TOTAL + index
        assert dataset.relative_path(again) == dataset.relative_path(index)
        sample = dataset[again]
        assert list(sample['inputs']) == ['weak', 'strong']
        assert all(view.has_mask for view in sample['data_samples'].values())
    first = [dataset[EpochIndex(i, 0)]['inputs'] for i in range(TOTAL + 3)]
    assert not torch.equal(first[TOTAL]['weak'], first[0]['labelled'])  # drawn independently
    assert dataset.fingerprint() != DATASETS.build(config).fingerprint()


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_batch_of_the_loader(config, num_workers):
    sampler = dict(type='SemiSampler', labelled=2, unlabelled=3, partners=True)
    loader = Runner.build_dataloader(
        dict(
            dataset=config,
            batch_size=8,
            num_workers=num_workers,
            sampler=sampler,
            collate_fn=dict(type='collate_views'),
        ),
        seed=0,
    )
    assert len(loader) == 2
    for batch in loader:
        counts = {name: len(images) for name, images in batch['inputs'].items()}
        assert counts == dict(labelled=2, weak=6, strong=6)
        names = [sample.img_path for sample in batch['data_samples']['weak']]
        assert all(a != b for a, b in zip(names[:3], names[3:], strict=True))
        assert names == [sample.img_path for sample in batch['data_samples']['strong']]
    again = next(iter(loader))['inputs']['weak'][0]
    np.testing.assert_array_equal(again, next(iter(loader))['inputs']['weak'][0])
