"""Key tables of published checkpoints."""

import re

import torch
from torch import Tensor

from luss_mm.checkpoints.key_mapping import KeyMappingError, Layout, Part, Presence, Unit

# Tensors of a layer and their dimensions; '?' marks what old checkpoints and Jittor's lack.
CONVOLUTION = dict(weight=4)
CONVOLUTION_WITH_BIAS = dict(weight=4, bias=1)
LINEAR = dict(weight=2, bias=1)
LAYER_NORM = dict(weight=1, bias=1)
STATISTICS = {'running_mean': 1, 'running_var': 1, 'num_batches_tracked?': 0}
BATCH_NORM = dict(weight=1, bias=1) | STATISTICS
VECTOR = {'': 1}
TOKENS = {'': 3}  # (1, N, C)

STAGES = range(4)
CLASSIFIER = 'the classifier of the pretraining data: ours has other categories'
FINAL_NORM = r'backbone\.(ln1|norm3)\..*'  # a recipe may norm in its head instead
NOT_BACKBONE = {r'(?!backbone\.).*': 'not a part of the backbone'}


def same(name: str, tensors: dict[str, int]) -> Part:
    """A layer that has one name in both layouts."""
    return Part(name, name, tensors)


def resnet() -> tuple[Unit, ...]:
    """Torchvision's ResNet and mmseg's, whose names agree. Blocks with conv3 are bottlenecks."""
    units = [Unit('', 'backbone', (same('conv1', CONVOLUTION), same('bn1', BATCH_NORM)))]
    for stage in STAGES:
        block = f'layer{stage + 1}.{{n}}'
        target = f'backbone.{block}'
        units += [
            Unit(block, target, _convolutions(1, 2)),
            Unit(block, target, _convolutions(3), Presence.ALL_OR_NONE),
            Unit(
                f'{block}.downsample',
                f'{target}.downsample',
                (same('0', CONVOLUTION), same('1', BATCH_NORM)),
                Presence.ANYWHERE,
            ),
        ]
    return tuple(units)


def _deep_stem_resnet() -> tuple[Unit, ...]:
    """A ResNet with a stem of three convolutions beside mmseg's ResNetV1c."""
    stem = (
        *(
            Part(f'conv1.{i}', f'stem.{i}', layer)
            for i, layer in enumerate((CONVOLUTION, BATCH_NORM, None, CONVOLUTION, BATCH_NORM))
            if layer
        ),
        Part('conv1.6', 'stem.6', CONVOLUTION),
        Part('bn1', 'stem.7', BATCH_NORM),
    )
    return (Unit('', 'backbone', stem), *resnet()[1:])


def _convolutions(*numbers: int) -> tuple[Part, ...]:
    return tuple(
        same(f'{kind}{number}', tensors)
        for number in numbers
        for kind, tensors in (('conv', CONVOLUTION), ('bn', BATCH_NORM))
    )


# Fine-tuned with mean pooling, the last norm is called fc_norm.
_FINAL_NORM = Unit('norm', 'backbone.ln1', (same('', LAYER_NORM),), synonyms=('fc_norm',))


def vision_transformer(final_norm: Unit = _FINAL_NORM) -> tuple[Unit, ...]:
    """Timm's VisionTransformer of 2021, which MAE, DINO and SERE have in common."""
    block = (
        Part('norm1', 'ln1', LAYER_NORM),
        same('attn.qkv', LINEAR),
        same('attn.proj', LINEAR),
        Part('norm2', 'ln2', LAYER_NORM),
        Part('mlp.fc1', 'ffn.layers.0.0', LINEAR),
        Part('mlp.fc2', 'ffn.layers.1', LINEAR),
    )
    embedding = (
        same('cls_token', TOKENS),
        same('pos_embed', TOKENS),
        Part('patch_embed.proj', 'patch_embed.projection', CONVOLUTION_WITH_BIAS),
    )
    return (
        Unit('', 'backbone', embedding),
        Unit('blocks.{n}', 'backbone.layers.{n}', block),
        final_norm,
    )


# DINOv2 scales what each half of a block adds.
_LAYER_SCALES = Unit(
    'blocks.{n}',
    'backbone.layers.{n}',
    (
        Part('ls1.gamma', 'attn.gamma1.weight', VECTOR),
        Part('ls2.gamma', 'ffn.gamma2.weight', VECTOR),
    ),
)


def convnext(
    downsamplings: list[str], blocks: list[str], block: tuple[Part, ...], final_norm: str
) -> tuple[Unit, ...]:
    """Mmpretrain's ConvNeXt.

    Args:
        downsamplings: Source name of what comes before each stage.
        blocks: Source name of each stage's blocks.
        block: Parts of a block.
        final_norm: Source name of the norm behind the last stage.
    """
    units = [Unit(final_norm, 'backbone.norm3', (same('', LAYER_NORM),))]
    for stage in STAGES:
        layers = (CONVOLUTION_WITH_BIAS, LAYER_NORM) if stage == 0 else _NORM_FIRST
        parts = tuple(same(str(i), layer) for i, layer in enumerate(layers))
        units += [
            Unit(downsamplings[stage], f'backbone.downsample_layers.{stage}', parts),
            Unit(blocks[stage], f'backbone.stages.{stage}.{{n}}', block),
        ]
    return tuple(units)


_NORM_FIRST = (LAYER_NORM, CONVOLUTION_WITH_BIAS)
_CONVNEXT_ADDED = NOT_BACKBONE | {
    r'backbone\.norm[0-2]\..*': 'mmpretrain normalises every output, the source only the last'
}


def convnext_block(
    convolution: str, norm: str, first: str, second: str, gamma: str, singletons: int = 0
) -> tuple[Part, ...]:
    """Names of a ConvNeXt block's parts; `gamma` has that many singletons behind its length."""
    return (
        Part(convolution, 'depthwise_conv', CONVOLUTION_WITH_BIAS),
        Part(norm, 'norm', LAYER_NORM),
        Part(first, 'pointwise_conv1', LINEAR),
        Part(second, 'pointwise_conv2', LINEAR),
        Part(gamma, 'gamma', VECTOR, singletons),
    )


def timm_convnext(final_norm: str) -> tuple[Unit, ...]:
    """Timm's ConvNeXt, whose last norm has that name."""
    return convnext(
        ['stem', *(f'stages.{stage}.downsample' for stage in STAGES[1:])],
        [f'stages.{stage}.blocks.{{n}}' for stage in STAGES],
        convnext_block('conv_dw', 'norm', 'mlp.fc1', 'mlp.fc2', 'gamma'),
        final_norm,
    )


def _xception() -> tuple[Unit, ...]:
    """Timm's aligned Xception, which `TIMMFeatureMaps` has by timm's own names."""
    layer = (same('conv', CONVOLUTION), same('bn', BATCH_NORM))
    separable = tuple(
        part
        for number in (1, 2, 3)
        for kind in ('dw', 'pw')
        for part in (
            same(f'conv{number}.conv_{kind}', CONVOLUTION),
            same(f'conv{number}.bn_{kind}', BATCH_NORM),
        )
    )
    target = 'backbone.network.'
    return (
        Unit('stem.{n}', f'{target}stem.{{n}}', layer),
        Unit('blocks.{n}.stack', f'{target}blocks.{{n}}.stack', separable),
        Unit('blocks.{n}.shortcut', f'{target}blocks.{{n}}.shortcut', layer, Presence.ANYWHERE),
    )


def _efficientnet_lite0() -> tuple[Unit, ...]:
    """EfficientNet-Lite0: timm numbers its blocks by stages, efficientnet_pytorch all in a row."""
    depthwise, project = '_depthwise_conv', '_project_conv'
    first = _normalised((depthwise, 'conv_dw'), (project, 'conv_pw'), first_norm=1)
    later = _normalised(
        ('_expand_conv', 'conv_pw'), (depthwise, 'conv_dw'), (project, 'conv_pwl'), first_norm=0
    )
    places = [(stage, n) for stage, depth in enumerate(_LITE0_DEPTHS) for n in range(depth)]
    stem = (Part('_conv_stem', 'conv_stem', CONVOLUTION), Part('_bn0', 'bn1', BATCH_NORM))
    return (
        Unit('', 'backbone.network', stem),
        *(
            Unit(
                f'_blocks.{number}',
                f'backbone.network.blocks.{stage}.{n}',
                later if number else first,
            )
            for number, (stage, n) in enumerate(places)
        ),
    )


def _normalised(*convolutions: tuple[str, str], first_norm: int) -> tuple[Part, ...]:
    """Convolutions of a block, each with its batch norm; timm counts those from 1."""
    return tuple(
        part
        for number, (source, target) in enumerate(convolutions)
        for part in (
            Part(source, target, CONVOLUTION),
            Part(f'_bn{first_norm + number}', f'bn{number + 1}', BATCH_NORM),
        )
    )


_LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage

_VIT = dict(added=NOT_BACKBONE, spare=FINAL_NORM)
_SELF_SUPERVISED_VIT = _VIT | dict(
    prefixes=('module.', 'backbone.'), containers=('', 'model', 'state_dict', 'teacher')
)
_CONVNEXT = dict(added=_CONVNEXT_ADDED, spare=FINAL_NORM)
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

BACKBONE_LAYOUTS: dict[str, Layout] = {
    'mae': Layout(
        "a checkpoint of MAE's ViT",
        vision_transformer(),
        dropped={
            r'mask_token|decoder_.*': "MAE's decoder paints pixels and ends with pretraining",
            r'head\..*': CLASSIFIER,
        },
        **_VIT,
        containers=('model', '', 'state_dict', 'teacher'),
    ),
    'sere': Layout(
        "a checkpoint of SERE's ViT",
        vision_transformer(),
        dropped={
            r'(channel|pixel)_sere(_local)?\..*': 'a head of the self-relation losses',
            r'masked_embed': 'stands for masked patches in pretraining',
            r'head\..*': 'the head of the pretraining loss, or a classifier',
        },
        **_SELF_SUPERVISED_VIT,
    ),
    'dino': Layout(
        "a checkpoint of DINO's ViT",
        vision_transformer(),
        dropped={r'head\..*': 'the head of the pretraining loss, or a classifier'},
        **_SELF_SUPERVISED_VIT,
    ),
    'dinov2': Layout(
        "a checkpoint of DINOv2's ViT without registers",
        (*vision_transformer(), _LAYER_SCALES),
        dropped={
            r'mask_token': 'stands for masked patches in pretraining',
            r'(dino|ibot)_head\..*': 'a head of the pretraining losses',
        },
        **_SELF_SUPERVISED_VIT,
    ),
    'moco-v3-vit': Layout(
        "a checkpoint of MoCo v3's ViT",
        vision_transformer(),
        dropped=_MOCO_DROPPED | {r'head\..*': 'the head of the pretraining loss'},
        **_VIT,
        **_MOCO_FILE,
    ),
    'moco-v3-resnet': Layout(
        "a checkpoint of MoCo v3's ResNet",
        resnet(),
        dropped=_MOCO_DROPPED | {r'fc\..*': 'the head of the pretraining loss'},
        added=NOT_BACKBONE,
        **_MOCO_FILE,
    ),
    'swav-resnet': Layout(
        "a checkpoint of SwAV's ResNet",
        resnet(),
        dropped={r'(projection_head|prototypes)\..*': 'a head of the pretraining loss'},
        added=NOT_BACKBONE,
        containers=('', 'state_dict'),
    ),
    'torchvision-resnet': Layout(
        'a ResNet of torchvision or timm',
        resnet(),
        **_PLAIN_RESNET,
    ),
    'deep-stem-resnet': Layout(
        'a ResNet with a stem of three convolutions, such as those of PyTorch-Encoding',
        _deep_stem_resnet(),
        **_PLAIN_RESNET,
    ),
    'convnext': Layout(
        "a checkpoint of the authors' ConvNeXt",
        convnext(
            [f'downsample_layers.{stage}' for stage in STAGES],
            [f'stages.{stage}.{{n}}' for stage in STAGES],
            convnext_block('dwconv', 'norm', 'pwconv1', 'pwconv2', 'gamma'),
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
        _xception(),
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
        convnext(
            [f'features.{2 * stage}' for stage in STAGES],
            [f'features.{2 * stage + 1}.{{n}}' for stage in STAGES],
            convnext_block('block.0', 'block.2', 'block.3', 'block.5', 'layer_scale', 2),
            'classifier.0',
        ),
        dropped={r'classifier\.2\.(weight|bias)': CLASSIFIER},
        **_CONVNEXT,
    ),
}


EARLIER_STAGE = 'a head of an earlier stage'
# How DistributedDataParallel saves them; inference.py reads keys with this prefix alone.
_PASS_FILE = dict(containers=('state_dict', ''), written_prefix='module.')


def _mlp(
    source: str, target: str, layer: dict[str, int], hidden: int, affine: bool = False
) -> tuple[Part, ...]:
    """Layer-BN-ReLU, `hidden` times, then layer-BN: what PASS projects with.

    Args:
        source: Name of the Sequential.
        target: Name in ours.
        layer: Tensors of its linear or convolutional layers.
        hidden: Hidden layers.
        affine: Whether the last BN has weight and bias.
    """
    parts = []
    for number in range(hidden + 1):
        norm = BATCH_NORM if affine or number < hidden else STATISTICS
        for position, tensors in ((3 * number, layer), (3 * number + 1, norm)):
            parts.append(Part(f'{source}.{position}', f'{target}.{position}', tensors))
    return tuple(parts)


_PASS_HEAD = Unit(
    '',
    'head',
    (
        *_mlp('projection_head', 'projection', LINEAR, hidden=1),
        same('prototypes', dict(weight=2)),
        same('prototype_sets', {'?': 1}),
    ),
)
_PIXEL_HEAD = Unit(
    '',
    'pixel_head',
    (
        *_mlp('projection_head_pixel', 'projector', CONVOLUTION, hidden=2),
        Part('predictor_head_pixel.0', 'predictor.0', CONVOLUTION),
        Part('predictor_head_pixel.1', 'predictor.1', BATCH_NORM),
        Part('predictor_head_pixel.3', 'predictor.3', CONVOLUTION_WITH_BIAS),
    ),
)
_PIXEL_ATTENTION = Unit(
    'fbg',
    'attention',
    (
        *_mlp('atten', 'layers', {'weight': 4, 'bias?': 1}, hidden=1, affine=True),
        Part('threshold', 'offset', {'': 4}),
    ),
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


def _shallow_head(stage: int) -> Unit:
    """Deep-to-shallow head of a stage, 1 to 3. Numbered by `number_shallow_heads`."""
    adapter = f'projection_head_pixel_shallow.projection_head_pixel{stage}'
    projection = f'projection_head_shallow.projection_head_shallow{stage}'
    return Unit(
        '',
        f'shallow_heads.{stage}',
        (
            *_mlp(adapter, 'adapter', CONVOLUTION, hidden=2),
            *_mlp(projection, 'projection', LINEAR, hidden=1),
        ),
        Presence.ANYWHERE,
    )


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
        (*resnet(), _PASS_HEAD, _PIXEL_HEAD, *(_shallow_head(stage) for stage in (1, 2, 3))),
        prepare=join_prototype_sets,
        finish=number_shallow_heads,
        undo=name_shallow_heads,
        complete=split_prototype_sets,
        **_PASS_FILE,
    ),
    'pass-attention': Layout(
        'a PASS checkpoint of pixel attention',
        (*resnet(), _PASS_HEAD, _PIXEL_ATTENTION),
        dropped={r'(projection_head_(pixel|shallow)|predictor_head_pixel).*': EARLIER_STAGE},
        prepare=join_prototype_sets,
        finish=fold_attention_biases,
        undo=add_attention_biases,
        complete=split_prototype_sets,
        **_PASS_FILE,
    ),
    'pass-finetuned': Layout(
        'a fine-tuned PASS checkpoint',
        (
            *resnet(),
            Unit('last_layer', 'decode_head.conv_seg', (same('', CONVOLUTION_WITH_BIAS),)),
        ),
        dropped={r'(projection_head|predictor_head|prototypes|fbg).*': EARLIER_STAGE},
        **_PASS_FILE,
    ),
}
