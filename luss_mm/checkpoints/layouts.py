"""Key tables of published checkpoints; where the names come from: docs/checkpoints.md."""

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from luss_mm.checkpoints.key_mapping import KeyMappingError, Layer, Layout, read_table

STAGES = range(4)
CLASSIFIER = 'the classifier of the pretraining data: ours has other categories'
NOT_BACKBONE = {r'(?!backbone\.).*': 'not a part of the backbone'}

# ---------------------------------------------------------------- backbones

# Torchvision's ResNet and mmseg's, whose names agree. Blocks with conv3 are bottlenecks.
RESNET_BLOCK = """
    layer{stage}.{n}.conv1 conv
    layer{stage}.{n}.bn1 batch_norm
    layer{stage}.{n}.conv2 conv
    layer{stage}.{n}.bn2 batch_norm
    layer{stage}.{n}.conv3 conv =
    layer{stage}.{n}.bn3 batch_norm =
    layer{stage}.{n}.downsample.0 conv ?
    layer{stage}.{n}.downsample.1 batch_norm ?
"""
RESNET_STAGES = ''.join(RESNET_BLOCK.replace('{stage}', str(stage)) for stage in (1, 2, 3, 4))
RESNET = read_table('conv1 conv \n bn1 batch_norm' + RESNET_STAGES)
# With a stem of three convolutions, beside mmseg's ResNetV1c.
DEEP_STEM_RESNET = read_table(
    """
    conv1.0 stem.0 conv
    conv1.1 stem.1 batch_norm
    conv1.3 stem.3 conv
    conv1.4 stem.4 batch_norm
    conv1.6 stem.6 conv
    bn1 stem.7 batch_norm
    """
    + RESNET_STAGES
)

# Timm's VisionTransformer of 2021, which MAE, DINO and SERE have in common.
VIT_WITHOUT_NORM = read_table(
    """
    cls_token tensor3
    pos_embed tensor3
    patch_embed.proj patch_embed.projection conv_bias
    blocks.{n}.norm1 layers.{n}.ln1 norm
    blocks.{n}.attn.qkv layers.{n}.attn.qkv linear
    blocks.{n}.attn.proj layers.{n}.attn.proj linear
    blocks.{n}.norm2 layers.{n}.ln2 norm
    blocks.{n}.mlp.fc1 layers.{n}.ffn.layers.0.0 linear
    blocks.{n}.mlp.fc2 layers.{n}.ffn.layers.1 linear
    """
)
# Fine-tuned with mean pooling, the last norm is called fc_norm.
VIT = (*VIT_WITHOUT_NORM, Layer('norm|fc_norm', 'backbone.ln1', 'norm'))
# DINOv2 scales what each half of a block adds.
SCALED_VIT = VIT + read_table(
    """
    blocks.{n}.ls1.gamma layers.{n}.attn.gamma1.weight tensor1
    blocks.{n}.ls2.gamma layers.{n}.ffn.gamma2.weight tensor1
    """
)


def _convnext(
    down: Callable[[int], str],
    block: Callable[[int], str],
    parts: str,
    final_norm: str,
    gamma: str = 'tensor1',
) -> tuple[Layer, ...]:
    """Mmpretrain's ConvNeXt beside another one.

    Args:
        down: Source name of what comes before a stage.
        block: Source name of a stage's blocks.
        parts: Source names of a block's convolution, norm, two linear layers and scale.
        final_norm: Source name of the norm behind the last stage.
        gamma: Kind of the scale.
    """
    lines = [f'{final_norm} norm3 norm']
    ours = 'depthwise_conv', 'norm', 'pointwise_conv1', 'pointwise_conv2', 'gamma'
    kinds = 'conv_bias', 'norm', 'linear', 'linear', gamma
    for stage in STAGES:
        order = ('norm', 'conv_bias') if stage else ('conv_bias', 'norm')
        for i, kind in enumerate(order):
            lines.append(f'{down(stage)}.{i} downsample_layers.{stage}.{i} {kind}')
        for source, target, kind in zip(parts.split(), ours, kinds, strict=True):
            lines.append(f'{block(stage)}.{source} stages.{stage}.{{n}}.{target} {kind}')
    return read_table('\n'.join(lines))


timm_convnext = partial(
    _convnext,
    lambda stage: f'stages.{stage}.downsample' if stage else 'stem',
    lambda stage: f'stages.{stage}.blocks.{{n}}',
    'conv_dw norm mlp.fc1 mlp.fc2 gamma',
)

# Timm's aligned Xception, which `TIMMFeatureMaps` has by timm's own names.
XCEPTION = read_table(
    'stem.{n}.conv conv \n stem.{n}.bn batch_norm \n'
    'blocks.{n}.shortcut.conv conv ? \n blocks.{n}.shortcut.bn batch_norm ? \n'
    + '\n'.join(
        f'blocks.{{n}}.stack.conv{number}.{layer}'
        for number in (1, 2, 3)
        for layer in ('conv_dw conv', 'bn_dw batch_norm', 'conv_pw conv', 'bn_pw batch_norm')
    ),
    'backbone.network.',
)


def _efficientnet_lite0() -> tuple[Layer, ...]:
    """EfficientNet-Lite0: timm numbers its blocks by stages, efficientnet_pytorch all in a row."""
    first = ('_depthwise_conv', 'conv_dw'), ('_project_conv', 'conv_pw')
    later = (
        ('_expand_conv', 'conv_pw'),
        ('_depthwise_conv', 'conv_dw'),
        ('_project_conv', 'conv_pwl'),
    )
    places = [(stage, n) for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for n in range(depth)]
    lines = ['_conv_stem conv_stem conv', '_bn0 bn1 batch_norm']
    for number, (stage, n) in enumerate(places):
        source, target = f'_blocks.{number}', f'blocks.{stage}.{n}'
        for i, (theirs, ours) in enumerate(later if number else first):
            norm = i if number else i + 1  # theirs count from the first norm that all but one have
            lines.append(f'{source}.{theirs} {target}.{ours} conv')
            lines.append(f'{source}._bn{norm} {target}.bn{i + 1} batch_norm')
    return read_table('\n'.join(lines), 'backbone.network.')


def segmentation_head(source: str) -> Layer:
    """The last convolution of a decode head."""
    return Layer(source, 'decode_head.conv_seg', 'conv_bias')


_FINAL_NORM = dict(spare=r'backbone\.(ln1|norm3)\..*')  # a recipe may norm in its head instead
_VIT = dict(added=NOT_BACKBONE, **_FINAL_NORM)
_SELF_SUPERVISED_VIT = _VIT | dict(
    prefixes=('module.', 'backbone.'), containers=('', 'model', 'state_dict', 'teacher')
)
_CONVNEXT = dict(
    added=NOT_BACKBONE
    | {r'backbone\.norm[0-2]\..*': 'mmpretrain normalises every output, the source only the last'},
    **_FINAL_NORM,
)
_ANY_FILE = dict(containers=('', 'state_dict', 'model'))
_PLAIN_RESNET = _ANY_FILE | dict(dropped={r'fc\.(weight|bias)': CLASSIFIER}, added=NOT_BACKBONE)
_MOCO_FILE = dict(
    prefixes=('module.', 'base_encoder.'),
    containers=('state_dict', ''),
    written_prefix='module.base_encoder.',  # what main_lincls.py looks for
)
_MOCO_DROPPED = {
    r'momentum_encoder\..*': "the slow copy: MoCo v3's own evaluation takes the base encoder",
    r'predictor\..*': 'a head of the pretraining loss',
}


def _with_scales_of(state: dict[str, Tensor], *singletons: int) -> dict[str, Tensor]:
    """ConvNeXt's scales with that many more dimensions of length 1 behind their channels."""
    return {
        key: tensor.reshape(-1, *singletons) if key.endswith('.gamma') else tensor
        for key, tensor in state.items()
    }


BACKBONE_LAYOUTS: dict[str, Layout] = {
    'mae': Layout(
        "a checkpoint of MAE's ViT",
        VIT,
        dropped={
            r'mask_token|decoder_.*': "MAE's decoder paints pixels and ends with pretraining",
            r'head\..*': CLASSIFIER,
        },
        **_VIT,
        containers=('model', '', 'state_dict', 'teacher'),
    ),
    'sere': Layout(
        "a checkpoint of SERE's ViT",
        VIT,
        dropped={
            r'(channel|pixel)_sere(_local)?\..*': 'a head of the self-relation losses',
            r'masked_embed': 'stands for masked patches in pretraining',
            r'head\..*': 'the head of the pretraining loss, or a classifier',
        },
        **_SELF_SUPERVISED_VIT,
    ),
    'dino': Layout(
        "a checkpoint of DINO's ViT",
        VIT,
        dropped={r'head\..*': 'the head of the pretraining loss, or a classifier'},
        **_SELF_SUPERVISED_VIT,
    ),
    'dinov2': Layout(
        "a checkpoint of DINOv2's ViT without registers",
        SCALED_VIT,
        dropped={
            r'mask_token': 'stands for masked patches in pretraining',
            r'(dino|ibot)_head\..*': 'a head of the pretraining losses',
        },
        **_SELF_SUPERVISED_VIT,
    ),
    'moco-v3-vit': Layout(
        "a checkpoint of MoCo v3's ViT",
        VIT,
        dropped=_MOCO_DROPPED | {r'head\..*': 'the head of the pretraining loss'},
        **_VIT,
        **_MOCO_FILE,
    ),
    'moco-v3-resnet': Layout(
        "a checkpoint of MoCo v3's ResNet",
        RESNET,
        dropped=_MOCO_DROPPED | {r'fc\..*': 'the head of the pretraining loss'},
        added=NOT_BACKBONE,
        **_MOCO_FILE,
    ),
    'swav-resnet': Layout(
        "a checkpoint of SwAV's ResNet",
        RESNET,
        dropped={r'(projection_head|prototypes)\..*': 'a head of the pretraining loss'},
        added=NOT_BACKBONE,
    ),
    'torchvision-resnet': Layout('a ResNet of torchvision or timm', RESNET, **_PLAIN_RESNET),
    'deep-stem-resnet': Layout(
        'a ResNet with a stem of three convolutions, such as those of PyTorch-Encoding',
        DEEP_STEM_RESNET,
        **_PLAIN_RESNET,
    ),
    'convnext': Layout(
        "a checkpoint of the authors' ConvNeXt",
        _convnext(
            lambda stage: f'downsample_layers.{stage}',
            lambda stage: f'stages.{stage}.{{n}}',
            'dwconv norm pwconv1 pwconv2 gamma',
            'norm',
        ),
        dropped={r'head\.(weight|bias)': CLASSIFIER},
        **_CONVNEXT,
        containers=('model', '', 'state_dict'),
    ),
    'timm-convnext': Layout(
        "a checkpoint of timm's ConvNeXt",
        timm_convnext('head.norm'),
        dropped={r'head\.fc\.(weight|bias)': CLASSIFIER},
        **_CONVNEXT,
        **_ANY_FILE,
    ),
    'timm-xception': Layout(
        "a checkpoint of timm's aligned Xception, such as xception65",
        XCEPTION,
        dropped={r'head\.fc\.(weight|bias)': CLASSIFIER},
        added=NOT_BACKBONE,
        **_ANY_FILE,
    ),
    'efficientnet-lite0': Layout(
        'an EfficientNet-Lite0 of efficientnet_pytorch',
        _efficientnet_lite0(),
        dropped={
            r'(_conv_head|_bn1)\..*': 'the widening before the classifier, behind all maps',
            r'_fc\.(weight|bias)': CLASSIFIER,
        },
        added=NOT_BACKBONE,
    ),
    'torchvision-convnext': Layout(
        "a checkpoint of torchvision's ConvNeXt",
        _convnext(
            lambda stage: f'features.{2 * stage}',
            lambda stage: f'features.{2 * stage + 1}.{{n}}',
            'block.0 block.2 block.3 block.5 layer_scale',
            'classifier.0',
            'tensor3',
        ),
        dropped={r'classifier\.2\.(weight|bias)': CLASSIFIER},
        **_CONVNEXT,
        finish=_with_scales_of,
        undo=lambda state: _with_scales_of(state, 1, 1),
    ),
}

# ---------------------------------------------------------------- PASS

EARLIER_STAGE = 'a head of an earlier stage'
# How DistributedDataParallel saves them; inference.py reads keys with this prefix alone.
_PASS_FILE = dict(containers=('state_dict', ''), written_prefix='module.')


def _mlp(source: str, target: str, layer: str, hidden: int, last: str = 'statistics') -> str:
    """Lines of layer-BN-ReLU, `hidden` times, then layer-BN: what PASS projects with.

    Args:
        source: Name of the Sequential.
        target: Name in ours.
        layer: Kind of its linear or convolutional layers.
        hidden: Hidden layers.
        last: Kind of the last BN.
    """
    lines = []
    for number in range(hidden + 1):
        norm = last if number == hidden else 'batch_norm'
        for place, kind in ((3 * number, layer), (3 * number + 1, norm)):
            lines.append(f'{source}.{place} {target}.{place} {kind}')
    return '\n'.join(lines) + '\n'


_PASS_HEAD = read_table(
    _mlp('projection_head', 'projection', 'linear', 1)
    + """
    prototypes matrix
    prototype_sets tensor1 ?sets
    """,
    'head.',
)
_PIXEL_HEAD = read_table(
    _mlp('projection_head_pixel', 'projector', 'conv', 2)
    + """
    predictor_head_pixel.0 predictor.0 conv
    predictor_head_pixel.1 predictor.1 batch_norm
    predictor_head_pixel.3 predictor.3 conv_bias
    """,
    'pixel_head.',
)
_PIXEL_ATTENTION = read_table(
    _mlp('fbg.atten', 'layers', 'conv_any', 1, 'batch_norm') + 'fbg.threshold offset tensor4',
    'attention.',
)


_ONE_SET = re.compile(r'(.*)prototypes\.prototypes(\d+)\.weight')


def join_prototype_sets(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One matrix of the authors' `MultiPrototypes`, and the number of prototypes of each set."""
    found = {int(match[2]): key for key in state if (match := _ONE_SET.fullmatch(key))}
    if not found:
        return state
    prefix = _ONE_SET.fullmatch(found[min(found)])[1]
    sets = [state[found[number]] for number in sorted(found)]
    return {key: tensor for key, tensor in state.items() if key not in found.values()} | {
        f'{prefix}prototypes.weight': torch.cat(sets),
        f'{prefix}prototype_sets': torch.tensor([len(weights) for weights in sets]),
    }


def split_prototype_sets(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of `join_prototype_sets`."""
    if 'prototype_sets' not in state:
        return state
    rest = dict(state)
    sets = rest.pop('prototypes.weight').split(rest.pop('prototype_sets').tolist())
    return rest | {f'prototypes.prototypes{i}.weight': weights for i, weights in enumerate(sets)}


def _shallow_head(stage: int) -> tuple[Layer, ...]:
    """Deep-to-shallow head of a stage, 1 to 3. Numbered by `number_shallow_heads`."""
    adapter = f'projection_head_pixel_shallow.projection_head_pixel{stage}'
    projection = f'projection_head_shallow.projection_head_shallow{stage}'
    lines = _mlp(adapter, 'adapter', 'conv', 2) + _mlp(projection, 'projection', 'linear', 1)
    return read_table(lines.replace('\n', f' ?head{stage}\n'), f'shallow_heads.{stage}.')


def number_shallow_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace stages by positions: ours are a list, shallow to deep, that keeps no stage."""
    pattern = re.compile(r'shallow_heads\.(\d+)\.')
    stages = sorted({int(match[1]) for key in state if (match := pattern.match(key))})
    return {
        pattern.sub(lambda match: f'shallow_heads.{stages.index(int(match[1]))}.', key): tensor
        for key, tensor in state.items()
    }


def name_shallow_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace positions by stages, the opposite of `number_shallow_heads`.

    A head belongs to the stage, 1 to 3, whose output has as many channels as its adapter takes.

    Raises:
        KeyMappingError: If no stage has.
    """
    pattern = re.compile(r'shallow_heads\.(\d+)\.')
    stages = {}
    for key, tensor in state.items():
        if (match := pattern.match(key)) and key.endswith('.adapter.0.weight'):
            stages[match[1]] = _stage_of(tensor.shape[1], state, key)
    return {
        pattern.sub(lambda match: f'shallow_heads.{stages.get(match[1], match[1])}.', key): tensor
        for key, tensor in state.items()
    }


def _stage_of(channels: int, state: dict[str, Tensor], key: str) -> int:
    for stage in (1, 2, 3):
        first = f'backbone.layer{stage}.0'
        last = state.get(f'{first}.conv3.weight', state.get(f'{first}.conv2.weight'))
        if last is not None and len(last) == channels:
            return stage
    raise KeyMappingError(f'{key} takes {channels} channels, which no stage from 1 to 3 puts out')


def add_attention_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Biases of zero for the authors' convolutions: see `fold_attention_biases`."""
    biases = {
        f'attention.layers.{layer}.bias': torch.zeros_like(norm)
        for layer, norm_layer in ((0, 1), (3, 4))
        if (norm := state.get(f'attention.layers.{norm_layer}.running_mean')) is not None
    }
    return biases | state


def fold_attention_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the convolutions' biases, which ours lack, into the means of the BN behind them.

    BN(Wx + b) with the running mean m is BN(Wx) with m - b; with batch statistics b cancels.
    """
    folded = dict(state)
    for convolution, norm in ((0, 1), (3, 4)):
        bias = folded.pop(f'attention.layers.{convolution}.bias', None)
        if bias is not None:
            mean = f'attention.layers.{norm}.running_mean'
            folded[mean] = folded[mean] - bias
    return folded


PASS_LAYOUTS: dict[str, Layout] = {
    'pass-pretrained': Layout(
        'a PASS checkpoint of pretraining',
        (
            *RESNET,
            *_PASS_HEAD,
            *_PIXEL_HEAD,
            *(x for s in (1, 2, 3) for x in _shallow_head(s)),
        ),
        prepare=join_prototype_sets,
        finish=number_shallow_heads,
        undo=name_shallow_heads,
        complete=split_prototype_sets,
        **_PASS_FILE,
    ),
    'pass-attention': Layout(
        'a PASS checkpoint of pixel attention',
        (*RESNET, *_PASS_HEAD, *_PIXEL_ATTENTION),
        dropped={r'(projection_head_(pixel|shallow)|predictor_head_pixel).*': EARLIER_STAGE},
        prepare=join_prototype_sets,
        finish=fold_attention_biases,
        undo=add_attention_biases,
        complete=split_prototype_sets,
        **_PASS_FILE,
    ),
    'pass-finetuned': Layout(
        'a fine-tuned PASS checkpoint',
        (*RESNET, segmentation_head('last_layer')),
        dropped={r'(projection_head|predictor_head|prototypes|fbg).*': EARLIER_STAGE},
        **_PASS_FILE,
    ),
}
