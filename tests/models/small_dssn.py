"""A DSSN of milliseconds, and batches of its views."""

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from luss_mm.models import DSSNSegmentor
from tests.models.slow_segmentation import IGNORED

SIZE = (12, 16)


@MODELS.register_module(force=True)
class TwoLevels(nn.Module):
    """Cells of 1 and 2 pixels that see nothing of their neighbours; batch norm if asked for."""

    def __init__(self, norm=False):
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 1)
        self.coarse = nn.Conv2d(6, 8, 2, stride=2)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()

    def forward(self, images):
        fine = self.norm(self.fine(images)).tanh()
        return fine, self.coarse(fine).tanh()


def head(num_classes, in_index, **settings):
    channels = [(6, 8)[i] for i in in_index]
    return (
        dict(
            type='FCNHead',
            in_channels=channels,
            in_index=list(in_index),
            input_transform='resize_concat',
            channels=sum(channels),
            num_convs=0,
            concat_input=False,
            dropout_ratio=0.0,
            num_classes=num_classes,
            align_corners=False,
            ignore_index=IGNORED,
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        )
        | settings
    )


def network_config(num_classes=5, norm=False, auxiliary=False, decode=None, **settings):
    config = dict(
        type='EncoderDecoder',
        backbone=dict(type='TwoLevels', norm=norm),
        decode_head=head(num_classes, (0, 1), **(decode or {})),
        test_cfg=dict(mode='whole'),
    )
    if auxiliary:
        config['auxiliary_head'] = head(num_classes, (0,))
    return ConfigDict(config, **settings)


def small_dssn(teacher=True, network=None, **settings):
    """In training mode; the teacher is another network than the student."""
    torch.manual_seed(0)
    model = DSSNSegmentor(network_config(**(network or {})), **settings).train()
    randomize(model.student, seed=1)
    if teacher:
        model.build_teacher()
        randomize(model.teacher.module, seed=2)
    return model


def randomize(network, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        scale = 2.5 if 'conv_seg.weight' in name else 0.7
        parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))


def random_labels(count, num_classes=5, size=SIZE, seed=0, padded=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count, *size), generator=generator)
    for i in range(count):  # unequal padding at the right and below
        labels[i, size[0] - (i * 2) % (2 * padded) :] = IGNORED
        labels[i, :, size[1] - (i * 2 + 2) % (2 * padded) :] = IGNORED
    return labels


def sample(labels, box=None, has_mask=True):
    made = SegDataSample(
        metainfo=dict(has_mask=has_mask, cutmix_box=box, img_shape=tuple(labels.shape))
    )
    made.gt_sem_seg = PixelData(data=labels[None].clone())
    return made


BOXES = dict(strong1=[(2, 3, 7, 6), None], strong2=[(0, 0, 5, 12), (8, 1, 8, 9)])


def batch(labelled=2, unlabelled=2, num_classes=5, size=SIZE, seed=0):
    """Images and samples of all views, with padding in all, and boxes."""
    generator = torch.Generator().manual_seed(seed)
    weak = 1.5 * torch.randn(2 * unlabelled, 3, *size, generator=generator)
    inputs = dict(labelled=torch.randn(labelled, 3, *size, generator=generator), weak=weak)
    masks = random_labels(labelled, num_classes, size, seed)
    valid = random_labels(2 * unlabelled, num_classes, size, seed + 1)
    valid[valid != IGNORED] = 0
    samples = dict(
        labelled=[sample(one) for one in masks],
        weak=[sample(one, has_mask=False) for one in valid],
    )
    for view, boxes in BOXES.items():
        inputs[view] = weak + 0.3 * torch.randn(weak.shape, generator=generator)
        boxes = [boxes[i % 2] for i in range(unlabelled)] + [(0, 0, *size[::-1])] * unlabelled
        samples[view] = [
            sample(one, box, has_mask=False) for one, box in zip(valid, boxes, strict=True)
        ]
    return inputs, samples
