import pytest
import torch
from mmseg.registry import MODELS

from luss_mm.models import LinearHead
from tests.models.slow_segmentation import slow_maps


def build(**settings):
    settings = dict(in_channels=5, num_classes=3, dropout_ratio=0.0, ignore_index=1000) | settings
    return LinearHead(**settings).eval()


def slow_logits(head, features):
    """One position at a time."""
    p = head.patch_size
    logits = torch.zeros(len(features), head.num_classes, *(p * s for s in features.shape[2:]))
    weight = head.conv_seg.weight[:, :, 0, 0]
    for b, row, column in torch.cartesian_prod(*map(torch.arange, features[:, 0].shape)).tolist():
        vector = features[b, :, row, column]
        if head.norm_cfg:
            vector = (vector - vector.mean()) / (vector.var(unbiased=False) + 1e-6).sqrt()
            vector = vector * head.norm.weight + head.norm.bias
        patch = (weight @ vector + head.conv_seg.bias).reshape(head.num_classes, p, p)
        logits[b, :, row * p : (row + 1) * p, column * p : (column + 1) * p] = patch
    return logits


@pytest.mark.parametrize('patch_size', [1, 4])
@pytest.mark.parametrize('norm_cfg', [None, dict(type='LN', eps=1e-6)])
def test_equals_one_position_at_a_time(patch_size, norm_cfg):
    torch.manual_seed(0)
    head = build(patch_size=patch_size, norm_cfg=norm_cfg)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(2, 5, 3, 4)
    with torch.no_grad():
        logits = head([features])
        torch.testing.assert_close(logits, slow_logits(head, features), atol=1e-5, rtol=1e-5)


def test_logits_are_doubled_before_anything_resizes_them():
    torch.manual_seed(0)
    head, doubling = build(), build(upsample=2)
    doubling.load_state_dict(head.state_dict())
    features = torch.randn(1, 5, 3, 4)
    with torch.no_grad():
        logits, doubled = head([features])[0], doubling([features])[0]
    expected = slow_maps(logits, (6, 8))
    torch.testing.assert_close(doubled.double(), expected, atol=1e-6, rtol=1e-5)


def test_position_embeddings_are_interpolated_to_any_input(mmseg_scope):
    """In the forward pass as on loading: 14 x 14 patches of pretraining, 2 x 3 of the image."""
    arch = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)
    settings = dict(type='mmpretrain.VisionTransformer', arch=arch, out_type='featmap')
    pretrained = MODELS.build(dict(settings, img_size=224))
    torch.nn.init.normal_(pretrained.pos_embed)
    of_its_own_size = MODELS.build(dict(settings, img_size=(32, 48)))
    of_its_own_size.load_state_dict(pretrained.state_dict())
    assert of_its_own_size.pos_embed.shape == (1, 1 + 2 * 3, 8)
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        (ours,), (theirs,) = pretrained(images), of_its_own_size(images)
    assert ours.shape == (1, 8, 2, 3)
    torch.testing.assert_close(ours, theirs)
