"""Segmentors of milliseconds, the data samples they take and what they give back."""

import torch
from mmengine.config import ConfigDict
from mmseg.structures import SegDataSample
from torch import nn

from luss_mm.models import LUSSSegmentor
from tests.models.slow_segmentation import IGNORED
from tests.models.small_networks import RESNET, RESNET_CHANNELS


def small_segmentor(kind=LUSSSegmentor, num_classes=5, in_index=0, head=None, **settings):
    torch.manual_seed(0)
    settings = dict(dict(train_cfg=dict(), test_cfg=ConfigDict(mode='whole')), **settings)
    model = kind(
        backbone=RESNET,
        decode_head=dict(
            dict(
                type='FCNHead',
                in_index=in_index,
                in_channels=RESNET_CHANNELS[in_index],
                channels=RESNET_CHANNELS[in_index],
                num_convs=0,
                concat_input=False,
                dropout_ratio=0.0,
                num_classes=num_classes,
                align_corners=False,
                ignore_index=IGNORED,
                loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
            ),
            **(head or {}),
        ),
        **settings,
    )
    nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()


class LocalBackbone(nn.Module):
    """Cells of 4 x 4 pixels that see nothing of their neighbours."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.cells = nn.Conv2d(3, RESNET_CHANNELS[0], 4, stride=4)

    def forward(self, images):
        return (self.cells(images),)


def local_segmentor(**settings):
    model = small_segmentor(**settings)
    model.backbone = LocalBackbone()
    return model


def samples(*sizes, **meta):
    return [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, **meta)) for size in sizes]


def label_maps(data_samples):
    for sample in data_samples:
        labels = sample.pred_sem_seg.data
        assert labels.dtype == torch.int64 and labels.shape == (1, *sample.ori_shape)
        assert 'seg_logits' not in sample
    return [sample.pred_sem_seg.data[0] for sample in data_samples]


@torch.no_grad()
def logits_of(model, images):
    return model.decode_head(model.backbone(images))
