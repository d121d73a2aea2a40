import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from luss_mm.models import PixelAttentionModel
from tests.functional.test_pixel_attention import (
    slow_foreground_score,
    slow_gated_embedding,
    slow_upsample,
)
from tests.functional.test_sinkhorn import slow_sinkhorn
from tests.functional.test_swapped_prediction import slow_swapped_prediction
from tests.models.slow_pass import slow_unit
from tests.models.small_networks import (
    CONVNEXT,
    CONVNEXT_CHANNELS,
    RESNET,
    RESNET_CHANNELS,
    SWIN,
    SWIN_CHANNELS,
    build,
    full_queue,
    prototype_head,
    random_views,
    without_batch_statistics,
)


def small_model(backbone=RESNET, channels=RESNET_CHANNELS[-1], **settings):
    settings = dict(dict(upsample=2), **settings)
    model = build(
        PixelAttentionModel,
        backbone=backbone,
        head=prototype_head(channels),
        channels=channels,
        **settings,
    )
    torch.nn.init.normal_(model.attention.offset)  # zeros would hide a forgotten offset
    return model


def slow_gates(model, features):
    """Layer by layer at unit features, in float64."""
    first, norm, _, second, second_norm = model.attention.layers
    x = slow_unit(features)
    for convolution, bn, relu in ((first, norm, True), (second, second_norm, False)):
        x = torch.einsum('bchw,dc->bdhw', x, convolution.weight.double()[:, :, 0, 0])
        mean, variance = bn.running_mean.double(), bn.running_var.double()
        x = (x - mean[:, None, None]) / (variance + bn.eps).sqrt()[:, None, None]
        x = x * bn.weight.double()[:, None, None] + bn.bias.double()[:, None, None]
        x = x.clamp_min(0) if relu else x
    return 1 / (1 + torch.exp(-(x + model.attention.offset.double())))


def difference(result, expected):
    assert result.shape == expected.shape
    return (result.double() - expected).abs().max().item()


@torch.no_grad()
def test_embedding_and_foreground_score_equal_loops():
    model = without_batch_statistics(small_model())
    images = random_views(2)[0][:, :, :48]  # not square
    embeddings, score = model(images)
    features = slow_upsample(model.backbone(images)[-1], 2)
    gates = slow_gates(model, features)
    pooled = slow_gated_embedding(features, gates)  # of features that are not normalised
    assert difference(embeddings, slow_unit(pooled)) < 1e-6
    assert difference(score, slow_foreground_score(gates)) < 1e-6
    assert score.shape == (2, 4, 4)  # 48 x 64 at stride 32 is 2 x 2, enlarged twice


@torch.no_grad()
@pytest.mark.parametrize('queue_length', [0, 9])
def test_loss_equals_loops(queue_length):
    model = without_batch_statistics(small_model(queue_length=queue_length))
    views = random_views(5)
    queued = torch.zeros(2, 0, 16)
    if queue_length:
        model.queue.restore(full_queue(queue_length, 16))
        model.queue.active = True
        queued = model.queue.rows
    prototypes = model.head.prototypes.weight.double()
    assignments, scores = [], []
    for view, images in enumerate(views):
        features = slow_upsample(model.backbone(images)[-1], 2)
        gates = slow_gates(model, features)
        pooled = slow_gated_embedding(slow_unit(features), gates)  # here they are normalised
        embeddings = slow_unit(model.head.projection(pooled.float()))
        scores.append(embeddings @ prototypes.T)
        rows = torch.cat([queued[view].double() @ prototypes.T, scores[-1]])
        assignments.append(slow_sinkhorn(rows)[queue_length:])
    losses = model(views, mode='loss')
    assert list(losses) == ['loss_attention']
    expected = slow_swapped_prediction(assignments, scores)
    assert abs(losses['loss_attention'].item() - expected) < 1e-5


@pytest.mark.parametrize(
    'backbone, channels, in_index',
    [
        (RESNET, RESNET_CHANNELS, -1),
        (RESNET, RESNET_CHANNELS, 2),
        (CONVNEXT, CONVNEXT_CHANNELS, 3),
        (SWIN, SWIN_CHANNELS, -1),
    ],
)
def test_any_backbone_trains_attention_and_prototypes_only(backbone, channels, in_index):
    model = small_model(backbone, channels[in_index], in_index=in_index).train()
    sum(model(random_views(4), mode='loss').values()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith(('attention.', 'head.prototypes.')):
            assert parameter.requires_grad and parameter.grad.abs().sum() > 0, name
        else:
            assert not parameter.requires_grad and parameter.grad is None, name
    embeddings, score = model.eval()(random_views(3)[0])
    assert embeddings.shape == (3, channels[in_index])
    assert 0 <= score.min() and score.max() <= 1


def norm_modes(model):
    """For frozen and for trained parts: whether their BN layers are in train mode."""
    modes = {True: set(), False: set()}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            modes[name.startswith('attention.')].add(module.training)
    return modes[False], modes[True]


def test_frozen_norm_layers_use_batch_statistics_by_default():
    model = small_model().train()
    assert norm_modes(model) == ({True}, {True})
    before = model.backbone.bn1.running_mean.clone()
    model(random_views(4), mode='loss')
    assert not torch.equal(model.backbone.bn1.running_mean, before)
    assert norm_modes(model.eval()) == ({False}, {False})


# ---------------------------------------------------------------- two processes
