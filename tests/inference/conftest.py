"""A small frozen network, its settings and images of seven shapes."""

import pytest
import torch
from mmseg.registry import MODELS

from luss_mm.pipeline.rendered_images import CATEGORIES, RenderTinyShapes

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 55.0, 50.0]
SIDE, K = 64, len(CATEGORIES)
SETTINGS = dict(
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    in_index=2,
    train_split='train',
    loading=dict(type='LoadBoundedImage', max_side=2048),
    resize_side=SIDE,
    resizing=dict(type='Resize', scale=(8 * SIDE, '${resize_side}'), keep_ratio=True),
    num_categories=K,
    validation_dataset=dict(
        type='LUSSDataset',
        data_root='${data_root}',
        data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
        categories='folders',
        pipeline=[],
    ),
    kmeans_iterations=10,
    kmeans_restarts=3,
    kmeans_initialization='random',
    label_batch_size=4,
    shard_size=16,
    num_workers=0,
    seed=0,
    image_mean=MEAN,
    image_std=STD,
    checkpoint=None,
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    RenderTinyShapes(35, 21, image_size=48)(root)
    return root


@pytest.fixture
def settings(root):
    return dict(SETTINGS, data_root=str(root))


@pytest.fixture
def weights(tmp_path, mmseg_scope):
    torch.manual_seed(1)
    network = MODELS.build(SETTINGS['backbone'])
    network.eval()
    state = {f'backbone.{key}': value for key, value in network.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth', network
