import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from tests.models.small_networks import RESNET, RESNET_CHANNELS

OUTPUTS = (1, 2, 3)
pytestmark = pytest.mark.usefixtures('mmseg_scope')


def segmentor():
    torch.manual_seed(0)
    head = dict(
        type='SegformerHead',
        in_index=list(OUTPUTS),
        in_channels=[RESNET_CHANNELS[i] for i in OUTPUTS],
        channels=8,
        dropout_ratio=0.1,
        num_classes=4,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        ignore_index=1000,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    )
    preprocessor = dict(
        type='MapsPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True, size=(32, 32)
    )
    config = dict(
        type='FrozenSegmentor',
        map_outputs=OUTPUTS,
        data_preprocessor=preprocessor,
        backbone=RESNET,
        decode_head=head,
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    return MODELS.build(config)


def image_batch(count=3):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(4, (count, 1, 32, 32), generator=generator)
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=label), metainfo=dict(ori_shape=(32, 32), img_shape=(32, 32))
        )
        for label in labels
    ]
    return dict(inputs=list(images), data_samples=samples)


@torch.no_grad()
def map_batch(model):
    """The same batch as `pseudo_collate` makes it of cached maps."""
    images = model.data_preprocessor(image_batch(), True)
    maps = model.backbone(images['inputs'])
    levels = [list(maps[output].half()) for output in OUTPUTS]
    return dict(inputs=levels, data_samples=image_batch()['data_samples'])


def loss_of(model, batch):
    data = model.data_preprocessor(batch, True)
    return model(**data, mode='loss')['decode.loss_ce']


def test_maps_give_the_loss_of_the_images():
    model = segmentor().train()
    model.decode_head.dropout = nn.Identity()
    direct, cached = loss_of(model, image_batch()), loss_of(model, map_batch(model))
    torch.testing.assert_close(cached, direct, rtol=2e-3, atol=0)
