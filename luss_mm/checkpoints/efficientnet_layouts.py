"""Published EfficientNets, which `TIMMFeatureMaps` has by timm's names."""

from luss_mm.checkpoints.backbone_layouts import BATCH_NORM, CLASSIFIER, CONVOLUTION, NOT_BACKBONE
from luss_mm.checkpoints.key_mapping import Layout, Part, Unit


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

EFFICIENTNET_LAYOUTS: dict[str, Layout] = {
    'efficientnet-lite0': Layout(
        'an EfficientNet-Lite0 of efficientnet_pytorch',
        _efficientnet_lite0(),
        dropped={
            r'(_conv_head|_bn1)\..*': 'the widening before the classifier, behind all maps',
            r'_fc\.(weight|bias)': CLASSIFIER,
        },
        added=NOT_BACKBONE,
    ),
}
