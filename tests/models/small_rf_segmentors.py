"""Segmentors of seconds whose dilations are searched for."""

import torch
from mmseg.registry import MODELS

CONVOLUTIONS = [f'stages.{stage}.0.depthwise_conv' for stage in range(4)]
STRUCTURE = dict(zip(CONVOLUTIONS, [(1, 1), (2, 2), (4, 4), (1, 1)], strict=True))


def segmentor(mode=None, **settings):
    """A ConvNeXt of four blocks under `LinearHead`; a plain one without a mode."""
    kind = dict(type='ReceptiveFieldSegmentor', mode=mode) if mode else dict(type='LUSSSegmentor')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            backbone=dict(
                type='mmpretrain.ConvNeXt',
                arch=dict(depths=[1, 1, 1, 1], channels=[4, 4, 4, 4]),
                out_indices=[3],
                gap_before_final_norm=False,
                layer_scale_init_value=1.0,
            ),
            decode_head=dict(
                type='LinearHead',
                in_channels=4,
                num_classes=3,
                patch_size=4,
                dropout_ratio=0.0,
                ignore_index=1000,
            ),
            test_cfg=dict(mode='whole'),
            **kind,
            **settings,
        )
    ).eval()


def set_branch_weights(model, *weights):
    """The same for every convolution."""
    for name, parameter in model.named_parameters():
        if name.endswith('.branch_weights'):
            parameter.data = torch.tensor(weights)


@torch.no_grad()
def logits_of(model):
    """Logits of one image, always the same."""
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    return model.decode_head(model.extract_feat(images))
