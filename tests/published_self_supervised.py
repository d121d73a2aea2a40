"""Self-supervised weights as published, beyond the networks of published_networks.py."""

import torch
import torchvision
from torch import nn

from tests.published_networks import Block, PublishedViT, mae_extras, randomise


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


def narrow_resnet50(seed=0):
    """torchvision's ResNet-50 with a sixteenth of its channels."""
    torch.manual_seed(seed)
    network = torchvision.models.resnet50()
    del network.fc
    for tensor in (*network.parameters(), *network.buffers()):
        kept = tensor.data[tuple(slice(n // 16 if n >= 64 else n) for n in tensor.shape)]
        tensor.data = kept * (4 if tensor.ndim == 4 else 1)  # fewer inputs need larger weights
    return network


def small_published_weights(kind):
    """What a published file of a format holds, with small networks and random weights."""

    def vit(seed=0, **options):
        return randomise(PublishedViT(width=16, **options), seed)

    match kind:
        case 'dino':
            return vit().state_dict()
        case 'dinov2':
            return vit(block=ScaledBlock).state_dict()
        case 'mae':
            return dict(model=vit().state_dict() | mae_extras(16))
        case 'moco-v3-vit':
            return moco_v3_checkpoint(vit(), 'head', vit(seed=1).state_dict())
        case 'moco-v3-resnet':
            return moco_v3_checkpoint(narrow_resnet50(), 'fc', narrow_resnet50(seed=1).state_dict())
        case 'swav-resnet':
            state = narrow_resnet50().state_dict() | {'prototypes.weight': torch.rand(2, 2)}
            return {f'module.{key}': tensor for key, tensor in state.items()}
