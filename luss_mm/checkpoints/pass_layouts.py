"""Published PASS checkpoints beside our PASS models: one table a stage.

Where the names come from: docs/checkpoints.md.
"""

import re

from torch import Tensor

from luss_mm.checkpoints.backbone_layouts import (
    BATCH_NORM,
    CONVOLUTION,
    CONVOLUTION_WITH_BIAS,
    LINEAR,
    STATISTICS,
    resnet,
    same,
)
from luss_mm.checkpoints.key_mapping import Layout, Part, Presence, Unit

EARLIER_STAGE = 'a head of an earlier stage'
CONTAINERS = ('state_dict', '')


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
        containers=CONTAINERS,
        finish=number_shallow_heads,
    ),
    'pass-attention': Layout(
        'a PASS checkpoint of pixel attention',
        (*resnet(), _PASS_HEAD, _PIXEL_ATTENTION),
        dropped={r'(projection_head_(pixel|shallow)|predictor_head_pixel).*': EARLIER_STAGE},
        containers=CONTAINERS,
        finish=fold_attention_biases,
    ),
    'pass-finetuned': Layout(
        'a fine-tuned PASS checkpoint',
        (
            *resnet(),
            Unit('last_layer', 'decode_head.conv_seg', (same('', CONVOLUTION_WITH_BIAS),)),
        ),
        dropped={r'(projection_head|predictor_head|prototypes|fbg).*': EARLIER_STAGE},
        containers=CONTAINERS,
    ),
}
