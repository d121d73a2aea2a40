"""Networks that train in milliseconds, and what two-process tests have in common."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

RESNET = dict(type='ResNet', depth=18, stem_channels=16, base_channels=16, norm_cfg=dict(type='BN'))
RESNET_CHANNELS = (16, 32, 64, 128)
CONVNEXT = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 1, 1, 1], channels=[12, 20, 28, 44]),
    out_indices=(0, 1, 2, 3),
    gap_before_final_norm=False,
)
CONVNEXT_CHANNELS = (12, 20, 28, 44)
SWIN = dict(
    type='mmpretrain.SwinTransformer',
    arch=dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4]),
    img_size=64,
    window_size=2,
    out_indices=(0, 1, 2, 3),
    pad_small_map=True,
)
SWIN_CHANNELS = (12, 24, 48, 96)


def prototype_head(in_channels, num_prototypes=20):
    return dict(
        type='PrototypeHead',
        in_channels=in_channels,
        hidden_channels=24,
        embedding_channels=16,
        num_prototypes=num_prototypes,
    )


def build(model_class, seed=0, **settings):
    torch.manual_seed(seed)
    return model_class(**settings)


def without_batch_statistics(model):
    """Train mode, but BN with statistics of its own: samples no longer depend on each other.

    The statistics are made up, so that a BN that is left out would show.
    """
    generator = torch.Generator().manual_seed(5)
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            shape = module.running_mean.shape
            module.running_mean.copy_(0.1 * torch.randn(shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(shape, generator=generator))
    return model


def random_views(batch, sizes=(64, 64), seed=0):
    """Smooth images that differ clearly. One (B, 3, s, s) for each size."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 3, 4, 4, generator=generator)
    views = []
    for size in sizes:
        view = torch.nn.functional.interpolate(coarse, (size, size), mode='bilinear')
        views.append(view + 0.5 * torch.randn(batch, 3, size, size, generator=generator))
    return views


def full_queue(length, channels, views=2, seed=3):
    """State of a feature queue with made-up unit rows."""
    rows = torch.randn(views, length, channels, generator=torch.Generator().manual_seed(seed))
    return dict(rows=torch.nn.functional.normalize(rows, dim=2), filled=length)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def largest_difference(results, expected):
    """Over the tensors of two dicts with the same keys, each relative to its own largest value."""
    assert results.keys() == expected.keys()
    return max(
        ((results[k] - expected[k]).abs().max() / expected[k].abs().max().clamp_min(1e-6)).item()
        for k in expected
    )
