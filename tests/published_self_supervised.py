"""What DINOv2 and MoCo v3 have beyond the networks of published_networks.py."""

import torch
from torch import nn

from tests.published_networks import Block


class ScaledBlock(Block):
    """DINOv2's."""

    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.ls1 = nn.ParameterDict(dict(gamma=torch.ones(width)))
        self.ls2 = nn.ParameterDict(dict(gamma=torch.ones(width)))

    def attended(self, tokens):
        return super().attended(tokens) * self.ls1['gamma']

    def mixed(self, tokens):
        return super().mixed(tokens) * self.ls2['gamma']


def moco_v3_checkpoint(encoder, head, other):
    """A checkpoint of MoCo v3.

    Args:
        encoder: The base encoder.
        head: Name of its classifier, which an MLP has replaced.
        other: State dict of the momentum encoder.
    """
    mlp = nn.Sequential(nn.Linear(8, 6, bias=False), nn.BatchNorm1d(6)).state_dict()
    own = encoder.state_dict() | {f'{head}.{k}': v for k, v in mlp.items()}
    parts = dict(base_encoder=own, momentum_encoder=other, predictor=mlp)
    state = {f'module.{n}.{k}': v for n, part in parts.items() for k, v in part.items()}
    return dict(epoch=300, arch='vit_small', state_dict=state, optimizer=dict(lr=0.6))
