from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from torch import nn
from torch.nn import functional as F

from luss_mm.engine.hooks import PreflightHook
from luss_mm.functional.guided_filter import guided_filter
from luss_mm.functional.score_histograms import otsu_threshold
from luss_mm.models.attended_backbone import AttendedInference
from tests.models.small_networks import RESNET, RESNET_CHANNELS, random_views

CHANNELS = 8
SIZE = 64


class Planted(nn.Module):
    """Maps at stride 8: long vectors where an image is red, short ones elsewhere."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        weights = torch.randn(CHANNELS, 3, 1, 1, generator=generator)
        self.weights = nn.Parameter(weights * torch.tensor([3.0, 0.5, 0.5]).view(1, 3, 1, 1))

    def forward(self, images):
        return (F.conv2d(F.avg_pool2d(images, 8), self.weights),)


def found_model(planted=True, **settings):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmseg.FoundModel',
            backbone=RESNET,
            channels=CHANNELS if planted else RESNET_CHANNELS[-1],
            upsample=2,
            foreground=dict(
                type='mmseg.FoundHead', channels=CHANNELS if planted else RESNET_CHANNELS[-1]
            ),
            data_preprocessor=dict(type='mmseg.ViewsPreprocessor', mean=[0] * 3, std=[255] * 3),
            **settings,
        )
    )
    if planted:
        model.backbone = Planted().requires_grad_(False)
    return model


def disc_images(count, seed, with_disc=True):
    """Red discs on grey noise, RGB in [0, 1], and where they are."""
    rng = np.random.default_rng(seed)
    images = 0.2 * rng.random((count, 3, SIZE, SIZE), np.float32)
    masks = np.zeros((count, SIZE, SIZE), bool)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.uniform(20, SIZE - 20, 2)
        mask[:] = with_disc & ((rows - top) ** 2 + (columns - left) ** 2 < 16**2)
        image[0][mask] += 0.7
    return torch.from_numpy(images), torch.from_numpy(masks)


def train(model, steps=30, self_training_from=1.0):
    optimizer = torch.optim.AdamW(model.attention.parameters(), lr=0.05)
    for step in range(steps):
        model.self_training = step >= self_training_from * steps
        losses = model.train()(disc_images(8, step)[0], mode='loss')
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize('self_training_from', [1.0, 0.5])
def test_the_head_finds_what_was_planted_in_other_images(self_training_from):
    model = train(
        found_model(pooling=dict(sharpen_radius=0.25)), self_training_from=self_training_from
    )
    images, masks = disc_images(6, 1000)
    with torch.no_grad():
        _, scores = model(images)
    found = scores >= 0.5
    union, shared = (found | masks).sum((1, 2)), (found & masks).sum((1, 2))
    assert (shared / union).min() > 0.9
    with torch.no_grad():  # length would call some pixel of any image the object
        _, scores = model(disc_images(6, 2000, with_disc=False)[0])
    assert scores.max() < 0.5


def test_only_the_head_learns():
    model = found_model(planted=False)
    nn.init.uniform_(model.backbone.bn1.running_mean)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model.train()(random_views(3)[0], mode='loss')['loss_found'].backward()
    after = model.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith('attention.'), name
    assert model.attention.norm.running_mean.abs().sum() > 0


def test_target_of_length_by_hand():
    model, images = found_model().train(), disc_images(3, 0)[0]
    features = model.backbone(images)[-1]
    target = model.target(features, torch.full((3, 1, 8, 8), 9.0), images)
    for image, feature, found in zip(images, features, target, strict=True):
        length = feature.norm(dim=0)
        scaled = (length - length.min()) / (length.max() - length.min())
        sharp = guided_filter(scaled[None], image[None], 0.25)[0].numpy()
        threshold = otsu_threshold(np.histogram(sharp, 256, (0, 1))[0])
        wrong = (sharp >= threshold) != found.bool().numpy()
        assert wrong.mean() < 0.002  # bins of float32 and float64 edges
        assert 0 < found.mean() < 1


def test_target_of_self_training_by_hand():
    model, (images, masks) = found_model().train(), disc_images(3, 0)
    model.self_training = True
    logits = 10 * (F.avg_pool2d(masks[:, None].float(), 8) - 0.5)
    target = model.target(model.backbone(images)[-1], logits, images)
    sharp = guided_filter(torch.sigmoid(logits)[:, 0], images, 0.25)
    assert torch.equal(target, (sharp >= 0.5).float())
    assert (target.bool() == masks).float().mean() > 0.98  # edges are where the colours have them


@torch.no_grad()
@pytest.mark.parametrize('precision, tolerance', [('float32', 1e-5), ('bfloat16', 0.03)])
def test_inference_equals_the_model(precision, tolerance):
    model = found_model(planted=False, pooling=dict(gate_power=2.0, sharpen_radius=0.25)).eval()
    images = random_views(3)[0]
    embeddings, scores = model(images)
    found, found_scores = AttendedInference(model, precision)(images)
    assert found.dtype == found_scores.dtype == torch.float32
    assert scores.shape == (3, 64, 64)  # sharpened: the images' size
    torch.testing.assert_close(found, embeddings, atol=tolerance, rtol=0)
    torch.testing.assert_close(found_scores, scores, atol=tolerance, rtol=0)


def test_a_classifier_of_dff_starts_from_it():
    state = found_model(planted=False).state_dict()
    classifier = MODELS.build(
        dict(
            type='mmseg.AttendedClassifier',
            backbone=RESNET,
            channels=RESNET_CHANNELS[-1],
            num_classes=2,
            foreground=dict(type='mmseg.FoundHead', channels=RESNET_CHANNELS[-1]),
        )
    )
    check = PreflightHook().after_load_checkpoint
    check(SimpleNamespace(model=classifier), dict(state_dict=state))
    missing, unexpected = classifier.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith('classifier.') for name in missing)
    del state['attention.convolution.weight']
    with pytest.raises(ValueError, match=r'lacks .* attention\.convolution\.weight'):
        check(SimpleNamespace(model=classifier), dict(state_dict=state))
