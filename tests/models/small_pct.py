"""PCT segmentors of milliseconds and the batches that they learn from."""

import copy

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from luss_mm.models.pct_segmentor import PCTSegmentor
from tests.models.slow_segmentation import IGNORED
from tests.models.small_networks import RESNET, RESNET_CHANNELS, random_views
from tests.models.small_segmentors import LocalBackbone


def small_head(num_classes, in_index):
    return dict(
        type='FCNHead',
        in_index=in_index,
        in_channels=RESNET_CHANNELS[in_index],
        channels=8,
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        dropout_ratio=0.0,
        norm_cfg=dict(type='BN'),
        num_classes=num_classes,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    )


def segmentor_config(num_classes=5, kind='EncoderDecoder', auxiliary=None, mode=None, **settings):
    """Config with the decode head on the last map, auxiliary heads on those of these indices."""
    heads = None if auxiliary is None else [small_head(num_classes, i) for i in auxiliary]
    return dict(
        dict(
            type=kind,
            backbone=copy.deepcopy(dict(RESNET, strides=(1, 2, 1, 1))),
            decode_head=small_head(num_classes, 3),
            auxiliary_head=heads,
            train_cfg=dict(),
            test_cfg=ConfigDict(mode or dict(mode='whole')),
        ),
        **settings,
    )


def small_pct(num_classes=5, kind='EncoderDecoder', auxiliary=None, mode=None, **settings):
    """In training mode, with logits that differ clearly between classes and networks."""
    torch.manual_seed(0)
    model = PCTSegmentor(segmentor_config(num_classes, kind, auxiliary, mode), **settings)
    for network in (model.hybrid, model.pseudo):
        torch.nn.init.normal_(network.decode_head.conv_seg.weight)
    return model.train()


def with_local_backbones(model):
    """Both networks see cells of 4 x 4 pixels and nothing of their neighbours."""
    for network in (model.hybrid, model.pseudo):
        network.backbone = LocalBackbone()
        network.decode_head = MODELS.build(small_head(model.num_classes, 0))
        torch.nn.init.normal_(network.decode_head.conv_seg.weight)
    return model


def sample(labels, tags, has_mask=True, **meta):
    """Labels of an unmasked image say only which pixels are valid."""
    labels = labels if has_mask else torch.where(labels == IGNORED, IGNORED, 0)
    tags = tuple(tags.nonzero()[:, 0].tolist())
    meta = dict(dict(img_shape=labels.shape, has_mask=has_mask, image_tags=tags), **meta)
    return SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels[None].clone()))


def batch(num_classes=5, labelled=2, tagged=3, with_masks=(), side=32, seed=0):
    """Inputs and data samples of `PCTSegmentor.loss`, tagged images `with_masks` by their place."""
    generator = torch.Generator().manual_seed(seed)
    count = labelled + tagged
    images = random_views(count, (side,), seed)[0]
    tags = torch.zeros(count, num_classes, dtype=torch.bool)
    tags[:, 0] = True
    tags[:, -1] = True
    tags[torch.arange(count), torch.randint(1, num_classes, (count,), generator=generator)] = True
    labels = torch.empty(count, side, side, dtype=torch.int64)
    for i in range(count):
        ids = tags[i].nonzero()[:, 0]
        coarse = ids[torch.randint(len(ids), (4, 4), generator=generator)]
        cells = torch.ones(side // 4, side // 4, dtype=torch.int64)
        labels[i] = torch.kron(coarse, cells)
        labels[i, 4 * i // 2 :, : i + 1] = IGNORED
    masked = [True] * labelled + [i in with_masks for i in range(tagged)]
    samples = [sample(*row) for row in zip(labels, tags, masked, strict=True)]
    return (
        dict(labelled=images[:labelled], tagged=images[labelled:]),
        dict(labelled=samples[:labelled], tagged=samples[labelled:]),
    )


def all_samples(data_samples):
    return [*data_samples['labelled'], *data_samples['tagged']]


def tags_of(samples, num_classes):
    return torch.tensor([[c in s.image_tags for c in range(num_classes)] for s in samples])


def truth_of(samples, stride=1):
    return torch.cat([s.gt_sem_seg.data for s in samples])[:, ::stride, ::stride]


def gradients_of(model, loss):
    """Norm of the gradient of each network."""
    model.zero_grad()
    loss.backward(retain_graph=True)
    return [
        sum(p.grad.norm().item() for p in network.parameters() if p.grad is not None)
        for network in (model.hybrid, model.pseudo)
    ]
