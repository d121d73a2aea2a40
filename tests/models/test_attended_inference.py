import pytest
import torch
from torch import nn
from torch.nn import functional as F

from luss_mm.models import attended_backbone
from luss_mm.models.attended_backbone import AttendedInference, fold_batch_norms
from tests.models.small_networks import (
    CONVNEXT,
    CONVNEXT_CHANNELS,
    RESNET,
    RESNET_CHANNELS,
    SWIN,
    SWIN_CHANNELS,
    random_views,
    without_batch_statistics,
)
from tests.models.test_pixel_attention_model import small_model

BACKBONES = [
    (RESNET, RESNET_CHANNELS[-1]),
    (CONVNEXT, CONVNEXT_CHANNELS[-1]),
    (SWIN, SWIN_CHANNELS[-1]),
]


def trained_model(backbone=RESNET, channels=RESNET_CHANNELS[-1], **settings):
    """Batch norms with statistics and weights of their own: what is left out would show."""
    model = without_batch_statistics(small_model(backbone, channels, **settings)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and 'norm' not in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def images(number=3):
    return random_views(number)[0][:, :, :48]  # not square


def cosine(first, second):
    return F.cosine_similarity(first.double(), second.double(), dim=1)


@torch.no_grad()
@pytest.mark.parametrize('backbone, channels', BACKBONES)
@pytest.mark.parametrize('upsample', [1, 4])
def test_equals_the_trained_model(backbone, channels, upsample):
    model = trained_model(backbone, channels, upsample=upsample)
    embeddings, scores = model.embed(images())
    features, _ = model.attend(images())
    inference = AttendedInference(model)
    found, found_scores = inference(images())
    small, pixel_scores = inference.score_pixels(images())
    torch.testing.assert_close(found, embeddings, atol=1e-6, rtol=0)
    torch.testing.assert_close(found_scores, scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(pixel_scores, scores, atol=1e-6, rtol=0)
    size = features.shape[-2:]
    enlarged = F.interpolate(small, size, mode='bilinear') if upsample > 1 else small
    torch.testing.assert_close(enlarged, features, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('values', [1, 10**9])
def test_parts_of_a_batch_change_nothing(monkeypatch, values):
    inference = AttendedInference(trained_model())
    expected = inference(images(5))
    monkeypatch.setattr(attended_backbone, 'VALUES_IN_CACHE', values)
    for first, second in zip(inference(images(5)), expected, strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize('backbone, channels', BACKBONES)
def test_bfloat16_rounds_products_and_nothing_else(backbone, channels):
    exact = AttendedInference(trained_model(backbone, channels))(images())
    inference = AttendedInference(trained_model(backbone, channels), 'bfloat16')
    embeddings, scores = inference(images())
    assert embeddings.dtype == scores.dtype == torch.float32
    assert not torch.equal(embeddings, exact[0])
    assert cosine(embeddings, exact[0]).min() > 0.999
    assert (scores - exact[1]).abs().max() < 0.02
    # float32 gates and sums: neither lies on bfloat16's grid
    for values in (embeddings, scores):
        assert not torch.equal(values, values.bfloat16().float())
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3), atol=1e-6, rtol=0)
    features, _ = inference.score_pixels(images())
    assert features.shape[1] == channels


class NormFirst(nn.Module):
    """A batch norm that was made after a convolution and comes before it."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.uniform_(self.norm.weight, 0.1, 3)
        nn.init.uniform_(self.norm.running_mean, 1, 3)

    def forward(self, batch):
        return (self.convolution(self.norm(batch)),)


def test_a_backbone_of_another_order_is_not_folded():
    torch.manual_seed(0)
    backbone = NormFirst().eval()
    assert fold_batch_norms(backbone) is backbone
