"""Small networks with the keys of published ones, written independently of ours."""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.resnet import BasicBlock

EPSILON = 1e-6


def randomise(network, seed=0):
    """Random values everywhere, so that a swapped or forgotten tensor shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                centred = (noise - 0.5) * (0.3 if tensor.ndim > 1 else 1.0)
                tensor.copy_(noise + 0.5 if name.endswith('running_var') else centred)
    return network.eval()


class Block(nn.Module):
    """A transformer block with the names of timm."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.attn = nn.ModuleDict(
            dict(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))
        )
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.mlp = nn.ModuleDict(
            dict(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width))
        )

    def forward(self, tokens):  # (B, N, C)
        tokens = tokens + self.attended(tokens)
        return tokens + self.mixed(tokens)

    def attended(self, tokens):
        queries, keys, values = self.attn['qkv'](self.norm1(tokens)).chunk(3, dim=2)
        outputs = []
        for q, k, v in zip(
            *(x.chunk(self.heads, dim=2) for x in (queries, keys, values)), strict=True
        ):
            weights = torch.softmax(q @ k.transpose(1, 2) / q.shape[2] ** 0.5, dim=2)
            outputs.append(weights @ v)
        return self.attn['proj'](torch.cat(outputs, dim=2))

    def mixed(self, tokens):
        return self.mlp['fc2'](F.gelu(self.mlp['fc1'](self.norm2(tokens))))


class PublishedViT(nn.Module):
    """ViT with the names of MAE, DINO and SERE; `norm_name` is 'fc_norm' after fine-tuning."""

    def __init__(self, width=8, depth=2, heads=2, patch=8, size=32, norm_name='norm', block=Block):
        super().__init__()
        self.norm_name = norm_name
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, width))
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(3, width, patch, patch)))
        self.blocks = nn.ModuleList(block(width, heads) for _ in range(depth))
        self.add_module(norm_name, nn.LayerNorm(width, EPSILON))

    def forward(self, images):
        patches = self.patch_embed['proj'](images)  # (B, C, h, w)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        tokens = getattr(self, self.norm_name)(tokens)[:, 1:]
        return tokens.transpose(1, 2).reshape(patches.shape)


def mae_extras(width=8):
    """What a MAE checkpoint has besides the encoder."""
    return dict(
        mask_token=torch.rand(1, 1, width),
        decoder_pos_embed=torch.rand(1, 17, width),
        **{f'decoder_embed.{k}': v for k, v in nn.Linear(width, width).state_dict().items()},
        **{f'decoder_blocks.0.{k}': v for k, v in Block(width, 2).state_dict().items()},
        **{f'decoder_norm.{k}': v for k, v in nn.LayerNorm(width).state_dict().items()},
        **{f'decoder_pred.{k}': v for k, v in nn.Linear(width, 192).state_dict().items()},
    )


def sere_extras(width=8):
    """What a SERE checkpoint has besides the encoder."""
    extras = dict(masked_embed=torch.rand(1, width))
    for name in ('channel_sere', 'pixel_sere', 'channel_sere_local', 'pixel_sere_local'):
        head = nn.ModuleDict(
            dict(
                projection=nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()),
                predictor=nn.Sequential(
                    nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
                ),
            )
        )
        extras |= {f'{name}.{k}': v for k, v in head.state_dict().items()}
    return extras


def torchvision_convnext():
    """torchvision's own ConvNeXt, small; `features` gives the map that `classifier[0]` norms."""
    sizes = [(8, 16, 2), (16, 24, 1), (24, 32, 2), (32, None, 1)]
    return ConvNeXt([CNBlockConfig(*size) for size in sizes], num_classes=5)


CONVNEXT_ARCH = dict(depths=[2, 1, 2, 1], channels=[8, 16, 24, 32])


class PublishedConvNeXt(nn.Module):
    """ConvNeXt with the names of its authors or of timm, computed channels first throughout.

    Args:
        timm: Whose names.
    """

    def __init__(self, timm):
        super().__init__()
        depths, widths = CONVNEXT_ARCH['depths'], CONVNEXT_ARCH['channels']
        self.tensors = nn.ParameterDict()
        self.depths = depths
        names = TIMM if timm else AUTHORS
        self.names = {key: name.replace('.', '/') for key, name in names.items()}
        for stage, width in enumerate(widths):
            before = (3, 4) if stage == 0 else (widths[stage - 1], 2)
            down = self._down(stage)
            convolution, norm = (0, 1) if stage == 0 else (1, 0)
            self._add(f'{down}/{convolution}', (width, before[0], before[1], before[1]), width)
            self._add(f'{down}/{norm}', *[width if stage == 0 else before[0]] * 2)
            for i in range(depths[stage]):
                block = self._block(stage, i)
                self._add(f'{block}/{self.names["depthwise"]}', (width, 1, 7, 7), width)
                self._add(f'{block}/norm', width, width)
                self._add(f'{block}/{self.names["first"]}', (4 * width, width), 4 * width)
                self._add(f'{block}/{self.names["second"]}', (width, 4 * width), width)
                self.tensors[f'{block}/gamma'] = nn.Parameter(torch.zeros(width))
        self._add(self.names['norm'], widths[-1], widths[-1])
        self._add(self.names['classifier'], (5, widths[-1]), 5)

    def published(self):
        return {key.replace('/', '.'): value.data for key, value in self.tensors.items()}

    def forward(self, x):
        for stage, depth in enumerate(self.depths):
            down = self._down(stage)
            x = self._convolve(x, f'{down}/0', 4) if stage == 0 else self._norm(x, f'{down}/0')
            x = self._norm(x, f'{down}/1') if stage == 0 else self._convolve(x, f'{down}/1', 2)
            for i in range(depth):
                x = x + self._residual(x, self._block(stage, i))
        return self._norm(x, self.names['norm'])

    def _residual(self, x, block):
        width = x.shape[1]
        depthwise = f'{block}/{self.names["depthwise"]}'
        x = F.conv2d(x, *self._pair(depthwise), padding=3, groups=width)
        x = self._norm(x, f'{block}/norm')
        x = F.gelu(self._mix(x, f'{block}/{self.names["first"]}'))
        x = self._mix(x, f'{block}/{self.names["second"]}')
        return self.tensors[f'{block}/gamma'][:, None, None] * x

    def _down(self, stage):
        return self.names['stem'] if stage == 0 else self.names['down'].format(stage=stage)

    def _block(self, stage, i):
        return self.names['block'].format(stage=stage, i=i)

    def _add(self, name, weight, bias):
        self.tensors[f'{name}/weight'] = nn.Parameter(torch.zeros(weight))
        self.tensors[f'{name}/bias'] = nn.Parameter(torch.zeros(bias))

    def _pair(self, name):
        return self.tensors[f'{name}/weight'], self.tensors[f'{name}/bias']

    def _convolve(self, x, name, stride):
        return F.conv2d(x, *self._pair(name), stride=stride)

    def _mix(self, x, name):
        weight, bias = self._pair(name)
        return torch.einsum('oc,bchw->bohw', weight, x) + bias[:, None, None]

    def _norm(self, x, name):
        weight, bias = self._pair(name)
        centred = x - x.mean(1, keepdim=True)
        scaled = centred / (centred.square().mean(1, keepdim=True) + EPSILON).sqrt()
        return scaled * weight[:, None, None] + bias[:, None, None]


AUTHORS = dict(
    stem='downsample_layers.0',
    down='downsample_layers.{stage}',
    block='stages.{stage}.{i}',
    depthwise='dwconv',
    first='pwconv1',
    second='pwconv2',
    norm='norm',
    classifier='head',
)
TIMM = dict(
    stem='stem',
    down='stages.{stage}.downsample',
    block='stages.{stage}.blocks.{i}',
    depthwise='conv_dw',
    first='mlp.fc1',
    second='mlp.fc2',
    norm='head.norm',
    classifier='head.fc',
)


class PublishedPASS(nn.Module):
    """PASS's ResNet-18 with the authors' names and paddings, `width` channels at first."""

    def __init__(self, mode, width=8, hidden=12, prototypes=7, categories=4, stages=(3,)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=2, bias=False)  # behind a padding of 1
        self.bn1 = nn.BatchNorm2d(width)
        for stage in range(4):
            first = residual_block(width * 2 ** max(stage - 1, 0), width * 2**stage, stage > 0)
            second = residual_block(width * 2**stage, width * 2**stage, False)
            self.add_module(f'layer{stage + 1}', nn.Sequential(first, second))
        channels = 8 * width
        if mode == 'finetune':
            self.last_layer = nn.Conv2d(channels, categories + 1, 1)
            return
        self.projection_head = linear_mlp(channels, hidden)
        self.prototypes = prototype_sets(prototypes)
        if mode == 'pixelattn':
            self.fbg = nn.Module()
            self.fbg.atten = nn.Sequential(
                nn.Conv2d(channels, channels, 1),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 1),
                nn.BatchNorm2d(channels),
            )
            self.fbg.threshold = nn.Parameter(torch.zeros(1, channels, 1, 1))
            return
        self.projection_head_shallow = nn.ModuleDict()
        self.projection_head_pixel_shallow = nn.ModuleDict()
        for stage in stages:
            shallow = width * 2 ** (stage - 1)
            head = linear_mlp(shallow, hidden)
            self.projection_head_shallow[f'projection_head_shallow{stage}'] = head
            adapter = pixel_mlp(shallow, hidden, shallow)
            self.projection_head_pixel_shallow[f'projection_head_pixel{stage}'] = adapter
        self.projection_head_pixel = pixel_mlp(channels, hidden, 128)
        self.predictor_head_pixel = nn.Sequential(
            nn.Conv2d(128, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 128, 1),
        )

    def maps(self, images):
        x = F.relu(self.bn1(self.conv1(F.pad(images, (1, 1, 1, 1)))))
        x = F.max_pool2d(x, 3, 2, padding=1)
        outputs = []
        for stage in range(4):
            x = getattr(self, f'layer{stage + 1}')(x)
            outputs.append(x)
        return outputs

    def gates(self, features):
        return torch.sigmoid(self.fbg.atten(F.normalize(features, dim=1)) + self.fbg.threshold)


def residual_block(before, after, strided):
    downsample = None
    if strided:
        downsample = nn.Sequential(
            nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after)
        )
    return BasicBlock(before, after, 2 if strided else 1, downsample)


def prototype_sets(number):
    """SwAV's MultiPrototypes for several numbers."""
    if isinstance(number, int):
        return nn.Linear(128, number, bias=False)
    sets = {f'prototypes{i}': nn.Linear(128, size, bias=False) for i, size in enumerate(number)}
    return nn.ModuleDict(sets)


def linear_mlp(before, hidden):
    return nn.Sequential(
        nn.Linear(before, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, 128),
        nn.BatchNorm1d(128, affine=False),
    )


def pixel_mlp(before, hidden, after):
    return nn.Sequential(
        nn.Conv2d(before, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, after, 1, bias=False),
        nn.BatchNorm2d(after, affine=False),
    )
