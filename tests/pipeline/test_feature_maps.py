import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS

from luss_mm.datasets import LUSSDataset
from luss_mm.datasets.cached_maps import WithDeepMap
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.pipeline import features
from luss_mm.pipeline.features import NoRoomError, cache_feature_maps, extract_features
from luss_mm.pipeline.generate_labels import PixelLabeller
from luss_mm.pipeline.image_batches import ShardedBatches
from tests.models.test_attended_inference import trained_model

SHARD = 4  # of six images: two shards
OUTPUTS = (1, 3)
pytestmark = pytest.mark.usefixtures('mmseg_scope')


class Noted(LUSSDataset):
    """Notes which samples were loaded."""

    def __getitem__(self, index):
        self.__dict__.setdefault('loaded', []).append(index)
        return super().__getitem__(index)


def batches_of(data_root):
    """Whole images in their own sizes."""
    pipeline = [
        dict(type='LoadBoundedImage'),
        dict(type='ResizeShortSide', side=40),
        dict(type='PackImage'),
    ]
    dataset = Noted(str(data_root), dict(img_path='train'), pipeline=pipeline)
    return ShardedBatches(dataset, 2, SHARD)


@pytest.fixture
def model():
    return AttendedInference(trained_model(data_preprocessor=dict(type='ViewsPreprocessor')))


def cache(directory, model, batches, weights='a'):
    return cache_feature_maps(directory, model, batches, OUTPUTS, dict(model=weights), {})


def test_maps_are_those_of_the_backbone_in_float16(data_root, tmp_path, model):
    batches = batches_of(data_root)
    maps = cache(tmp_path / 'maps', model, batches)
    assert len(maps) == len(batches.dataset) == 6
    shapes = set()
    for index in range(6):
        sample = batches.dataset[index]
        assert maps.file_size(index) == tuple(sample['ori_shape'])
        assert maps.input_size(index) == tuple(sample['inputs'].shape[1:])
        images = model.data_preprocessor.normalize(sample['inputs'][None])
        direct = model.backbone(images)
        for found, output in zip(maps.maps(index), OUTPUTS, strict=True):
            assert found.dtype == np.float16
            expected = direct[output][0].half()
            torch.testing.assert_close(
                torch.from_numpy(np.array(found)), expected, rtol=2e-3, atol=2e-3
            )
            assert np.abs(found).max() > 0.1
        shapes.add(maps.maps(index)[0].shape)
    assert len(shapes) > 1


def test_too_full_a_disk_is_refused_before_the_first_shard(data_root, tmp_path, model, monkeypatch):
    lines = []
    monkeypatch.setattr(features, 'print_log', lambda text, **_: lines.append(text))
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: SimpleNamespace(free=1000))
    with pytest.raises(NoRoomError, match='6 images take about .* MB .*cache_maps=False'):
        cache(tmp_path / 'maps', model, batches_of(data_root))
    assert not list(tmp_path.rglob('shard-*'))
    monkeypatch.undo()
    maps = cache(tmp_path / 'maps', model, batches_of(data_root))
    size = 6 * sum(level.nbytes for level in maps.maps(0))
    assert f'{size / 1e6:,.1f} MB' in lines[0]


def test_values_beyond_float16_are_refused(data_root, tmp_path, model):
    for parameter in model.backbone.parameters():
        parameter.data *= 100
    with pytest.raises(ValueError, match='65,504 of float16.*cache_maps=False'):
        cache(tmp_path / 'maps', model, batches_of(data_root))


def test_embeddings_and_labels_from_maps_are_those_from_images(data_root, tmp_path, model):
    batches = batches_of(data_root)
    cache(tmp_path / 'maps', model, batches)
    cached = ShardedBatches(WithDeepMap(batches.dataset, tmp_path / 'maps', 1), 2, SHARD)
    direct = extract_features(tmp_path / 'direct', model, batches, {}, {})
    known = direct.embeddings[:3]
    calls = []
    labeller = PixelLabeller(
        model, np.array(known), 0.5, TRANSFORMS.build(dict(type='GeneratePseudoLabel'))
    )
    expected = [labels(labeller, batches.dataset[i], direct) for i in range(6)]
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    found = extract_features(tmp_path / 'cached', model, cached, {}, {})
    np.testing.assert_allclose(found.embeddings, direct.embeddings, atol=2e-3)
    assert found.score_counts.sum() == direct.score_counts.sum()
    agreement = [
        (labels(labeller, cached.dataset[i], direct) == expected[i]).mean() for i in range(6)
    ]
    assert min(agreement) > 0.99
    assert not calls


def labels(labeller, sample, features):
    rows = np.array(features.embeddings[[sample['index']]])
    (result,) = labeller.label([sample], rows)
    return np.asarray(result['gt_seg_map'])
