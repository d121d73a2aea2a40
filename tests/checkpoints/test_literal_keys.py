"""Every way back writes the keys of the original, which are spelt out here layer by layer."""

import pytest
import torch

from luss_mm.checkpoints.conversion import LAYOUTS, convert_checkpoint
from luss_mm.checkpoints.key_mapping import KeyMappingError, reverse
from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint

Shapes = dict[str, tuple[int, ...]]


def conv(name, outputs=2, inputs=2, bias=False) -> Shapes:
    shapes = {f'{name}.weight': (outputs, inputs, 1, 1)}
    return shapes | {f'{name}.bias': (outputs,)} if bias else shapes


def linear(name, outputs=2, inputs=2) -> Shapes:
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def norm(name, channels=2) -> Shapes:
    return {f'{name}.weight': (channels,), f'{name}.bias': (channels,)}


def batch_norm(name, channels=2, affine=True) -> Shapes:
    statistics = {f'{name}.running_{s}': (channels,) for s in ('mean', 'var')}
    statistics[f'{name}.num_batches_tracked'] = ()
    return statistics | (norm(name, channels) if affine else {})


def joined(*parts: Shapes) -> Shapes:
    return {key: shape for part in parts for key, shape in part.items()}


def resnet(depths, convolutions, deep_stem=False) -> Shapes:
    """Stages whose blocks have so many convolutions; stage s puts out 2 ** s channels."""
    parts = [batch_norm('bn1'), *([] if deep_stem else [conv('conv1')])]
    if deep_stem:
        for i in (0, 3, 6):
            parts += [conv(f'conv1.{i}'), *([batch_norm(f'conv1.{i + 1}')] if i < 6 else [])]
    for stage, depth in enumerate(depths, start=1):
        channels = 2**stage
        for n in range(depth):
            block = f'layer{stage}.{n}'
            for number in range(1, convolutions + 1):
                parts.append(conv(f'{block}.conv{number}', channels))
                parts.append(batch_norm(f'{block}.bn{number}', channels))
            if n == 0 and (stage > 1 or convolutions == 3):
                parts.append(conv(f'{block}.downsample.0', channels))
                parts.append(batch_norm(f'{block}.downsample.1', channels))
    return joined(*parts)


# Shallower than the published ones, whose further blocks have the same names.
RESNET18, RESNET50 = resnet((2, 2, 2, 2), 2), resnet((2, 1, 2, 1), 3)


def vit(last_norm='norm', scaled=False) -> Shapes:
    parts = [dict(cls_token=(1, 1, 2), pos_embed=(1, 5, 2)), conv('patch_embed.proj', bias=True)]
    for n in range(2):
        block = f'blocks.{n}'
        parts += [norm(f'{block}.norm1'), norm(f'{block}.norm2')]
        parts += [linear(f'{block}.attn.qkv', 6), linear(f'{block}.attn.proj')]
        parts += [linear(f'{block}.mlp.fc1', 8), linear(f'{block}.mlp.fc2', 2, 8)]
        if scaled:
            parts.append({f'{block}.ls1.gamma': (2,), f'{block}.ls2.gamma': (2,)})
    return joined(*parts, norm(last_norm))


def mmseg_vit() -> Shapes:
    parts = [{'backbone.cls_token': (1, 1, 2), 'backbone.pos_embed': (1, 5, 2)}]
    parts.append(conv('backbone.patch_embed.projection', bias=True))
    for n in range(2):
        block = f'backbone.layers.{n}'
        parts += [norm(f'{block}.ln1'), norm(f'{block}.ln2')]
        parts.append(
            {
                f'{block}.attn.attn.in_proj_weight': (6, 2),
                f'{block}.attn.attn.in_proj_bias': (6,),
            }
        )
        parts.append(linear(f'{block}.attn.attn.out_proj'))
        parts += [linear(f'{block}.ffn.layers.0.0', 8), linear(f'{block}.ffn.layers.1', 2, 8)]
    head = [conv('decode_head.conv_cat.conv'), batch_norm('decode_head.conv_cat.bn')]
    return joined(*parts, norm('backbone.ln1'), *head, conv('decode_head.conv_seg', 5, bias=True))


def convnext(stem, down, block, names, last_norm) -> Shapes:
    depthwise, block_norm, first, second, gamma, singletons = names
    parts = [conv(f'{stem}.0', bias=True), norm(f'{stem}.1'), norm(last_norm)]
    for stage, depth in enumerate((1, 2, 1, 2)):
        if stage:
            place = down.format(stage=stage, even=2 * stage)
            parts += [norm(f'{place}.0'), conv(f'{place}.1', bias=True)]
        for n in range(depth):
            place = block.format(stage=stage, odd=2 * stage + 1, n=n)
            parts += [conv(f'{place}.{depthwise}', bias=True), norm(f'{place}.{block_norm}')]
            parts += [linear(f'{place}.{first}', 8), linear(f'{place}.{second}', 2, 8)]
            parts.append({f'{place}.{gamma}': (2, *(1,) * singletons)})
    return joined(*parts)


TIMM_BLOCK = ('conv_dw', 'norm', 'mlp.fc1', 'mlp.fc2', 'gamma', 0)
TIMM_PLACES = ('stem', 'stages.{stage}.downsample', 'stages.{stage}.blocks.{n}', TIMM_BLOCK)


def rf_convnext(rates, kernel=7, weighted=False) -> Shapes:
    shapes = joined(convnext(*TIMM_PLACES, 'seg_norm'), conv('seg_head.fc', 16, bias=True))
    for key in [key for key in shapes if key.endswith('conv_dw.weight')]:
        place = key.removesuffix('weight')
        shapes[key] = (2, 1, kernel, kernel)
        shapes |= {f'{place}counter': (1,), f'{place}current_search_step': (1,)}
        shapes |= {f'{place}rates': rates, f'{place}num_rates': len(rates)}
        if weighted:
            shapes[f'{place}sample_weights'] = (3,)
    return shapes


def pass_mlp(name, layer, hidden, last_affine=False) -> Shapes:
    parts = []
    for i in range(hidden + 1):
        affine = last_affine or i < hidden
        parts += [layer(f'{name}.{3 * i}'), batch_norm(f'{name}.{3 * i + 1}', affine=affine)]
    return joined(*parts)


def matrices(name) -> Shapes:
    return linear(name)


def shallow_heads(stage) -> Shapes:
    adapter = f'projection_head_pixel_shallow.projection_head_pixel{stage}'
    projection = f'projection_head_shallow.projection_head_shallow{stage}'
    shapes = joined(pass_mlp(adapter, conv, 2), pass_mlp(projection, matrices, 1))
    return shapes | {f'{adapter}.0.weight': (2, 2**stage, 1, 1)}


PASS_HEAD = joined(pass_mlp('projection_head', matrices, 1), {'prototypes.weight': (7, 2)})
PASS = dict(
    pretrained=joined(
        RESNET18,
        PASS_HEAD,
        *(shallow_heads(stage) for stage in (2, 3)),
        pass_mlp('projection_head_pixel', conv, 2),
        conv('predictor_head_pixel.0'),
        batch_norm('predictor_head_pixel.1'),
        conv('predictor_head_pixel.3', bias=True),
    ),
    attention=joined(
        RESNET18,
        PASS_HEAD,
        pass_mlp('fbg.atten', lambda name: conv(name, bias=True), 1, last_affine=True),
        {'fbg.threshold': (1, 2, 1, 1)},
    ),
    finetuned=joined(RESNET50, conv('last_layer', 5, bias=True)),
)
BRANCHES = [(1, 1), (2, 2), (3, 3)]  # around a dilation of 2
LITERAL = {  # the entry that holds the weights, what is before each key, keys and shapes
    **{f'pass-{stage}': ('state_dict', 'module.', keys) for stage, keys in PASS.items()},
    'mae': ('model', '', vit()),
    'sere': ('', '', vit()),
    'dino': ('', '', vit()),
    'dinov2': ('', '', vit(scaled=True)),
    'moco-v3-vit': ('state_dict', 'module.base_encoder.', vit()),
    'moco-v3-resnet': ('state_dict', 'module.base_encoder.', RESNET50),
    'swav-resnet': ('', '', RESNET50),
    'torchvision-resnet': ('', '', RESNET50),
    'deep-stem-resnet': ('', '', resnet((1, 2, 1, 2), 3, deep_stem=True)),
    'convnext': (
        'model',
        '',
        convnext(
            'downsample_layers.0',
            'downsample_layers.{stage}',
            'stages.{stage}.{n}',
            ('dwconv', 'norm', 'pwconv1', 'pwconv2', 'gamma', 0),
            'norm',
        ),
    ),
    'timm-convnext': ('', '', convnext(*TIMM_PLACES, 'head.norm')),
    'torchvision-convnext': (
        '',
        '',
        convnext(
            'features.0',
            'features.{even}',
            'features.{odd}.{n}',
            ('block.0', 'block.2', 'block.3', 'block.5', 'layer_scale', 2),
            'classifier.0',
        ),
    ),
    'imagenetsegmodel-vit': ('model', '', joined(vit('fc_norm'), conv('head', 5, bias=True))),
    'imagenetsegmodel-resnet': ('model', '', joined(RESNET50, conv('head', 5, bias=True))),
    'imagenetsegmodel-convnext': (
        'model',
        '',
        joined(convnext(*TIMM_PLACES, 'seg_norm'), conv('seg_head.fc', 16, bias=True)),
    ),
    'imagenetsegmodel-rf-convnext-search': ('model', '', rf_convnext(BRANCHES, weighted=True)),
    'imagenetsegmodel-rf-convnext-single': ('model', '', rf_convnext([(2, 2)])),
    'imagenetsegmodel-rf-convnext-multiple': ('model', '', rf_convnext(BRANCHES, weighted=True)),
    'imagenetsegmodel-rf-convnext-merge': ('model', '', rf_convnext([(1, 1)], kernel=19)),
    'mmseg-imagenets-vit': ('state_dict', '', mmseg_vit()),
}
# Against timm and a published file: test_timm_feature_maps.py, test_packaged_weights.py.
ELSEWHERE = {'timm-xception', 'efficientnet-lite0'}


def test_every_format_that_has_a_way_back_is_here():
    found = set()
    for kind, layout in LAYOUTS.items():
        try:
            reverse(layout)
        except KeyMappingError:
            continue
        found.add(kind)
    assert found == LITERAL.keys() | ELSEWHERE


def tensor_of(key, shape):
    if key.endswith('.num_rates'):
        return torch.tensor([shape], dtype=torch.int32)
    if key.endswith('.rates'):
        return torch.tensor([*shape, *[(1, 1)] * (3 - len(shape))], dtype=torch.int32)
    if key.endswith(('.counter', '.current_search_step')):
        return torch.zeros(shape)
    return torch.randn(shape)


@pytest.mark.parametrize('kind', LITERAL)
def test_the_way_back_writes_the_literal_keys(tmp_path, kind):
    torch.manual_seed(0)
    container, prefix, shapes = LITERAL[kind]
    state = {f'{prefix}{key}': tensor_of(key, shape) for key, shape in shapes.items()}
    torch.save({container: state} if container else state, tmp_path / 'theirs.pth')
    convert_checkpoint(kind, tmp_path / 'theirs.pth', tmp_path / 'ours.pth')
    convert_checkpoint(kind, tmp_path / 'ours.pth', tmp_path / 'back.pth', backwards=True)
    back = load_checkpoint(tmp_path / 'back.pth')
    if container:
        assert list(back) == [container]
        back = back[container]
    assert back.keys() == state.keys()
    for key, tensor in state.items():
        assert back[key].shape == tensor.shape and back[key].dtype == tensor.dtype, key
        if 'fbg.atten' not in key:  # its biases are folded into the norm behind them
            assert torch.equal(back[key], tensor), key


def test_backwards_a_searched_network_of_another_mode_is_refused(tmp_path):
    container, _, shapes = LITERAL['imagenetsegmodel-rf-convnext-single']
    state = {key: tensor_of(key, shape) for key, shape in shapes.items()}
    torch.save({container: state}, tmp_path / 'theirs.pth')
    kind = 'imagenetsegmodel-rf-convnext'
    convert_checkpoint(f'{kind}-single', tmp_path / 'theirs.pth', tmp_path / 'ours.pth')
    with pytest.raises(CheckpointError, match=r"dilation is missing: not of mode 'search'"):
        convert_checkpoint(
            f'{kind}-search', tmp_path / 'ours.pth', tmp_path / 'back.pth', backwards=True
        )
