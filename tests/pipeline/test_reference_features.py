import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from luss_mm.datasets import LUSSDataset
from luss_mm.functional.label_codec import decode_label_map
from luss_mm.models import ViewsPreprocessor
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.reference_features import (
    PixelFeatures,
    extract_references,
    label_by_references,
)
from tests.functional.test_distance_matching import slow_cell, slow_references, slow_vote
from tests.tiny_layout import write_image, write_label_map

BACKBONE = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8)
SIZES = [(40, 40), (40, 56)]
NUMBER = 7
PLACES = [f'{"ab"[i % 2]}/{i}' for i in range(NUMBER)]

pytestmark = pytest.mark.usefixtures('mmseg_scope')


@pytest.fixture
def root(tmp_path):
    """Photographs of noise, in each two categories, `others` and one ignored row."""
    rng = np.random.default_rng(0)
    for split in ('train-semi', 'validation'):
        for i, place in enumerate(PLACES):
            height, width = SIZES[i % 3 % 2]
            coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
            image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
            write_image(tmp_path / split / f'{place}.png', image)
            labels = np.zeros((height, width), int)
            labels[8:30, 5:25], labels[20:, 30:], labels[-1] = 1 + i % 2, 300, 1000
            write_label_map(tmp_path / f'{split}-segmentation' / f'{place}.png', labels)
    return tmp_path


def make_extractor(in_index=2, upsample=4):
    torch.manual_seed(0)
    return PixelFeatures(MODELS.build(BACKBONE), ViewsPreprocessor(), in_index, upsample)


def batches(root, split='train-semi', masks=True):
    prefix, pipeline = dict(img_path=split), [dict(type='LoadBoundedImage')]
    if masks:
        prefix['seg_map_path'] = f'{split}-segmentation'
        pipeline.append(dict(type='LoadLabelMap', match_image=False))
    pipeline.append(dict(type='PackImage'))
    return ShardedBatches(LUSSDataset(str(root), prefix, pipeline=pipeline), 2, shard_size=3)


def extract(root, name='references', extractor=None):
    extractor = extractor or make_extractor()
    return extract_references(root / name, extractor, batches(root), dict(model='a'), {})


def label(root, references, name='labels', **options):
    sharded = batches(root, 'validation', masks=False)
    arguments = make_extractor(), sharded, references, dict(references='a'), {}
    return label_by_references(root / name, *arguments, **options)


@torch.no_grad()
def slow_features(root, split):
    """Place and feature map of one image at a time, normalised by hand."""
    backbone = make_extractor().backbone
    assert not any(module.training for module in backbone.modules())
    for place in sorted(PLACES):
        rgb = cv2.imread(str(root / split / f'{place}.png'))[..., ::-1].astype(np.float32)
        image = (rgb - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
        features = backbone(torch.tensor(image.transpose(2, 0, 1)[None], dtype=torch.float32))[2]
        size = [4 * side for side in features.shape[2:]]
        yield place, torch.nn.functional.interpolate(features, size, mode='bilinear')[0]


def read_labels(path):
    return decode_label_map(cv2.imread(str(path))[..., ::-1])


def test_references_equal_one_image_at_a_time(root):
    references = extract(root)
    directions, categories = [], []
    for place, features in slow_features(root, 'train-semi'):
        mask = read_labels(root / 'train-semi-segmentation' / f'{place}.png')
        expected = slow_references(features, mask)
        categories += expected
        directions += expected.values()
    assert references.categories.tolist() == categories and 300 in categories
    assert references.directions.dtype == np.float32
    np.testing.assert_allclose(references.directions, directions, atol=1e-5)
    assert not list((root / 'references').glob('.shard*'))


def test_labels_equal_one_pixel_at_a_time(root):
    references = extract(root)
    out = label(root, references, neighbours=4, temperature=0.1)
    directions = torch.from_numpy(np.array(references.directions))
    seen = set()
    for place, features in slow_features(root, 'validation'):
        labels = read_labels(out / f'{place}.png')
        assert labels.shape == read_labels(root / f'validation-segmentation/{place}.png').shape
        votes = {
            (y, x): slow_vote(features[:, y, x], directions, references.categories, 4, 0.1)
            for y, x in np.ndindex(features.shape[1:])
        }
        for y, x in np.ndindex(labels.shape):
            row = slow_cell(y, labels.shape[0], features.shape[1])
            column = slow_cell(x, labels.shape[1], features.shape[2])
            assert labels[y, x] == votes[row, column]
        seen |= set(labels.flatten().tolist())
    assert len(seen) > 2


def test_a_mask_that_is_missing_or_does_not_fit_is_named(root):
    path = root / 'train-semi-segmentation' / 'b/1.png'
    write_label_map(path, np.zeros((20, 20), int))
    with pytest.raises(ValueError, match=r'b/1\.png: the mask is \(20, 20\)'):
        extract(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'b/1\.png: no such mask'):
        extract(root)
