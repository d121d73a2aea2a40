import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from tests.models.small_networks import RESNET, RESNET_CHANNELS

OUTPUTS = (1, 2, 3)
pytestmark = pytest.mark.usefixtures('mmseg_scope')


def segmentor(**options):
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
        **options,
    )
    return MODELS.build(config)


def image_batch(count=3):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(4, (count, 1, 32, 32), generator=generator)
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=label),
            metainfo=dict(sample_idx=index, ori_shape=(32, 32), img_shape=(32, 32)),
        )
        for index, label in enumerate(labels)
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


def losses_of(model, batch):
    torch.manual_seed(0)  # of the dropout
    return model(**model.data_preprocessor(batch, True), mode='loss')


def relabelled(index):
    batch = image_batch()
    batch['data_samples'][index].gt_sem_seg.data.zero_()
    return batch


@pytest.mark.parametrize('index', [0, 1, 2])
def test_each_peer_learns_the_images_of_the_other_fold(index):
    model = segmentor(check_labels=True).train()
    gradients = []
    for batch in (image_batch(), relabelled(index)):
        model.zero_grad()
        losses_of(model, batch)['peers.loss'].backward()
        gradients.append([peer.conv_seg.weight.grad.clone() for peer in model.peers])
    changed = [not torch.equal(a, b) for a, b in zip(*gradients, strict=True)]
    assert changed == [index % 2 != 0, index % 2 != 1]


def test_the_head_ignores_what_the_peer_without_the_image_contradicts():
    model = segmentor(check_labels=True).train()
    model.self_training = True
    with torch.no_grad():  # peer 0 finds objects everywhere, peer 1 nowhere
        for peer, bias in zip(model.peers, (-99.0, 99.0), strict=True):
            peer.conv_seg.bias[0] = bias
    batch = image_batch()
    checked = losses_of(model, batch)
    labels = torch.cat([s.gt_sem_seg.data for s in batch['data_samples']])
    unseen_by_first = torch.tensor([True, False, True])[:, None, None]
    disputed = torch.where(unseen_by_first, labels == 0, labels > 0)
    thinned = disputed[:, :: model.loss_stride, :: model.loss_stride]
    assert checked['disputed'] == pytest.approx(thinned.float().mean().item())
    batch = image_batch()
    for sample, wrong in zip(batch['data_samples'], disputed, strict=True):
        sample.gt_sem_seg.data[0][wrong] = 1000
    model.self_training = False
    cleaned = losses_of(model, batch)
    torch.testing.assert_close(checked['decode.loss_ce'], cleaned['decode.loss_ce'])
    assert 'disputed' not in cleaned
    assert checked['decode.loss_category'] > 0 and 'decode.loss_category' not in cleaned


def test_the_network_that_predicts_is_the_same_with_and_without_a_check():
    plain, checking = segmentor(), segmentor(check_labels=True)
    loaded = plain.load_state_dict(checking.state_dict(), strict=False)
    assert not loaded.missing_keys
    assert {key.split('.')[0] for key in loaded.unexpected_keys} == {'peers'}
    assert not plain.peers
