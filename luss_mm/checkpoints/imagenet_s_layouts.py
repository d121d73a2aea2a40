"""Networks fine-tuned on ImageNet-S with their heads, as the recipes of configs/imagenet_s.

Where the names come from: docs/checkpoints.md.
"""

from functools import partial

import torch
from torch import Tensor

from luss_mm.checkpoints.key_mapping import KeyMappingError, Layer, Layout, read_table
from luss_mm.checkpoints.layouts import (
    RESNET,
    STAGES,
    VIT_WITHOUT_NORM,
    segmentation_head,
    timm_convnext,
)
from luss_mm.models.receptive_fields import Dilation, branch_dilations

FILE = dict(containers=('model', '', 'state_dict'))
PATCH = 4  # their ConvNeXts classify each position 4 x 4 times
BRANCHES = dict(num_branches=3, expansion=0.5)
KERNEL = 7  # of ConvNeXt's depthwise convolutions, before merging
PREFIX, SUFFIX = 'backbone.stages.', '.depthwise_conv.weight'
COUNTERS = ('counter', 'current_search_step')
RF_MODES = ('search', 'single', 'multiple', 'merge')


def shuffle_head(state: dict[str, Tensor], *, back: bool = False) -> dict[str, Tensor]:
    """Order the outputs of a ConvNeXt's head as pixel_shuffle reads them.

    The authors' outputs are ordered by (row, column, category) of a patch, pixel_shuffle's by
    (category, row, column).

    Raises:
        KeyMappingError: If the head has no patches of 4 x 4.
    """
    changed = dict(state)
    for name in ('decode_head.conv_seg.weight', 'decode_head.conv_seg.bias'):
        head = state.get(name)
        if head is None:
            continue  # named with all that is missing
        categories, rest = divmod(len(head), PATCH**2)
        if rest:
            raise KeyMappingError(f'{name} has {len(head)} outputs, no multiple of {PATCH**2}')
        groups = (categories, PATCH**2) if back else (PATCH**2, categories)
        changed[name] = head.reshape(*groups, *head.shape[1:]).transpose(0, 1).reshape(head.shape)
    return changed


def _searched(mode: str) -> tuple[Layer, ...]:
    """What an RFConv2d keeps beside its kernel: dilations, their number, weights of branches."""
    parts = ['rates rates tensor2', 'num_rates num_rates tensor1']
    if mode in ('search', 'multiple'):
        parts.append('sample_weights branch_weights tensor1')
    lines = []
    for stage in STAGES:
        for source, target, kind in map(str.split, parts):
            ours = f'stages.{stage}.{{n}}.depthwise_conv.{target}'
            lines.append(f'stages.{stage}.blocks.{{n}}.conv_dw.{source} {ours} {kind}')
    return read_table('\n'.join(lines), 'receptive_field.')


def _receptive_fields(state: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
    """Dilations and branch weights under the names of a `ReceptiveFieldSegmentor` of that mode."""
    structure = _structure(state, mode)
    own = 'receptive_field.'
    changed = {k: v for k, v in shuffle_head(state).items() if not k.startswith(own)}
    for name, dilation in structure.items():
        if mode != 'merge':
            changed[f'{own}{mode}.{name}.dilation'] = torch.tensor(dilation)
        weights = state.get(f'{own}{name}.branch_weights')
        if weights is not None:
            changed[f'{own}{mode}.{name}.branch_weights'] = weights
    return changed


def _searched_rates(state: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
    """The opposite of `_receptive_fields`.

    Raises:
        KeyMappingError: If a convolution has no dilation of that mode.
    """
    own = 'receptive_field.'
    ours = {k: v for k, v in state.items() if not k.startswith(own)}
    changed = shuffle_head(ours, back=True)
    for name in _depthwise_convolutions(ours):
        rates = [(1, 1)]  # a merged kernel
        if mode != 'merge':
            saved = f'{own}{mode}.{name}'
            if f'{saved}.dilation' not in state:
                raise KeyMappingError(f'{saved}.dilation is missing: not of mode {mode!r}')
            middle = tuple(state[f'{saved}.dilation'].tolist())
            rates = [middle] if mode == 'single' else branch_dilations(middle, **BRANCHES)
        padded = rates + [(1, 1)] * (BRANCHES['num_branches'] - len(rates))
        changed[f'{own}{name}.rates'] = torch.tensor(padded, dtype=torch.int32)
        changed[f'{own}{name}.num_rates'] = torch.tensor([len(rates)], dtype=torch.int32)
        if mode in ('search', 'multiple'):
            changed[f'{own}{name}.branch_weights'] = state[f'{saved}.branch_weights']
    return changed


def _start_search(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Beside each convolution's rates the authors' counters of the search, at zero."""
    counters = {
        f'{key.removesuffix("num_rates")}{name}': torch.zeros(1)
        for key in state
        if key.endswith('.num_rates')
        for name in COUNTERS
    }
    return state | counters


def _depthwise_convolutions(state: dict[str, Tensor]) -> list[str]:
    """Names in the backbone of the convolutions whose dilations are searched for."""
    return [
        key.removeprefix('backbone.').removesuffix('.weight')
        for key in state
        if key.startswith(PREFIX) and key.endswith(SUFFIX)
    ]


def _structure(state: dict[str, Tensor], mode: str) -> dict[str, Dilation]:
    """Dilation in the middle of the branches of each convolution.

    Raises:
        KeyMappingError: If a convolution does not fit the mode.
    """
    structure = {}
    for name in _depthwise_convolutions(state):
        kernel = state[f'backbone.{name}.weight']
        rates = state[f'receptive_field.{name}.rates']
        rates = rates[: int(state[f'receptive_field.{name}.num_rates'])]
        pairs = [tuple(int(rate) for rate in pair) for pair in rates]
        structure[name] = _middle(pairs, tuple(kernel.shape[2:]), mode, name)
    return structure


def _middle(rates: list[Dilation], kernel: tuple[int, int], mode: str, name: str) -> Dilation:
    if mode == 'merge':
        reach = tuple((side - 1) // (KERNEL - 1) for side in kernel)
        middle = tuple(_dilation_of(side) for side in reach)
        fits = rates == [(1, 1)] and branch_dilations(middle, **BRANCHES)[-1] == reach
    else:
        # Around a dilation of 1 the smaller branch falls together with it.
        middle = rates[max(len(rates) - 2, 0)]
        branches = [middle] if mode == 'single' else branch_dilations(middle, **BRANCHES)
        fits = rates == branches and kernel == (KERNEL, KERNEL)
    if not fits:
        raise KeyMappingError(
            f'{name} has the dilations {rates} and a kernel of {kernel}: not of mode {mode!r}'
        )
    return middle


def _dilation_of(reach: int) -> int:
    """Dilation whose largest branch is `reach`, which grows with it."""
    dilation = 1
    while branch_dilations((dilation, dilation), **BRANCHES)[-1][0] < reach:
        dilation += 1
    return dilation


def _fine_tuned_convnext(mode: str | None = None, **options: object) -> Layout:
    title = "a checkpoint of ImageNetSegModel's " + (
        f'RF-ConvNeXt, mode {mode}' if mode else 'ConvNeXt'
    )
    searched = _searched(mode) if mode else ()
    return Layout(
        title,
        (*timm_convnext('seg_norm'), segmentation_head('seg_head.fc'), *searched),
        **options,
        **FILE,
    )


def _rf_convnext(mode: str) -> Layout:
    return _fine_tuned_convnext(
        mode,
        finish=partial(_receptive_fields, mode=mode),
        undo=partial(_searched_rates, mode=mode),
        complete=_start_search,
        dropped={rf'.*\.conv_dw\.({"|".join(COUNTERS)})': 'how far the search was'},
        structure=partial(_structure, mode=mode),
    )


# mmseg's own VisionTransformer, whose attention is torch's, under its FCNHead.
MMSEG_VIT = read_table(
    """
    backbone.cls_token tensor3
    backbone.pos_embed tensor3
    backbone.patch_embed.projection conv_bias
    backbone.layers.{n}.ln1 norm
    backbone.layers.{n}.attn.attn.in_proj_weight backbone.layers.{n}.attn.qkv.weight tensor2
    backbone.layers.{n}.attn.attn.in_proj_bias backbone.layers.{n}.attn.qkv.bias tensor1
    backbone.layers.{n}.attn.attn.out_proj backbone.layers.{n}.attn.proj linear
    backbone.layers.{n}.ln2 norm
    backbone.layers.{n}.ffn.layers.0.0 linear
    backbone.layers.{n}.ffn.layers.1 linear
    backbone.ln1 norm
    decode_head.conv_cat.conv conv
    decode_head.conv_cat.bn batch_norm
    decode_head.conv_seg conv_bias
    """,
    before='',
)

IMAGENET_S_LAYOUTS: dict[str, Layout] = {
    'imagenetsegmodel-vit': Layout(
        "a checkpoint of ImageNetSegModel's ViT",
        (
            *VIT_WITHOUT_NORM,
            Layer('fc_norm', 'decode_head.norm', 'norm'),
            segmentation_head('head'),
        ),
        **FILE,
    ),
    'imagenetsegmodel-resnet': Layout(
        "a checkpoint of ImageNetSegModel's ResNet", (*RESNET, segmentation_head('head')), **FILE
    ),
    'imagenetsegmodel-convnext': _fine_tuned_convnext(
        finish=shuffle_head, undo=partial(shuffle_head, back=True)
    ),
    **{f'imagenetsegmodel-rf-convnext-{mode}': _rf_convnext(mode) for mode in RF_MODES},
    'mmseg-imagenets-vit': Layout(
        "a checkpoint of MMSegmentation's ViT on ImageNet-S", MMSEG_VIT, containers=('state_dict',)
    ),
}
