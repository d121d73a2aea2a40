"""Convert a published checkpoint into one that our models load, or back.

    luss convert pass-pretrained checkpoint.pth.tar pass.pth
    luss convert mae mae_pretrain_vit_base.pth mae.pth --config CONFIG
    luss convert torchvision-resnet ours.pth resnet50.pth --backwards
    luss convert pass-centroids centroids.npy ours.npy

Every key of the source is renamed or listed as left out; any other is an error. docs/checkpoints.md
says where each format comes from. Files that could execute code are refused.
"""

from collections import Counter
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import new_parser, one_of
from luss_mm.engine.expected_errors import one_line_stops

if TYPE_CHECKING:
    from luss_mm.checkpoints.conversion import ConvertedCheckpoint

CENTROIDS = 'pass-centroids'  # a file of centroids, no checkpoint


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Convert and say what was left out."""
    parser = new_parser(__doc__)
    formats = one_of('luss_mm.checkpoints.conversion', 'FORMATS')
    parser.add_argument('format', type=formats, metavar='FORMAT', help='see docs/checkpoints.md')
    parser.add_argument('source')
    parser.add_argument('target', help='must not exist')
    parser.add_argument('--backwards', action='store_true', help='from ours to the format')
    parser.add_argument('--weights-key', help='entry of the source that holds the weights')
    parser.add_argument('--config', help='a config whose model must be able to load the result')
    parser.add_argument('--stage', help='of a recipe given as --config')
    parsed = parser.parse_args(arguments)
    if parsed.format == CENTROIDS and (parsed.backwards or parsed.config or parsed.weights_key):
        parser.error(f'{CENTROIDS} takes no options')
    if parsed.backwards and parsed.config:
        parser.error('--config checks checkpoints of ours: not with --backwards')
    if parsed.stage and not parsed.config:
        parser.error('--stage is a stage of --config RECIPE')
    from luss_mm.checkpoints.conversion import (
        convert_centroids,
        convert_checkpoint,
        model_config,
    )

    if parsed.format == CENTROIDS:
        number, channels = convert_centroids(parsed.source, parsed.target)
        print(f'{parsed.target}: {number} centroids of {channels} channels')
        return
    result = convert_checkpoint(
        parsed.format,
        parsed.source,
        parsed.target,
        backwards=parsed.backwards,
        container=parsed.weights_key,
        model=model_config(parsed.config, parsed.stage) if parsed.config else None,
    )
    print(f'{parsed.target}: {len(result.state)} tensors')
    if result.structure:
        print(f'{result.structure}: dilations, for the setting `structure`')
    print('\n'.join(left_out(result)))


def left_out(result: 'ConvertedCheckpoint') -> list[str]:
    """What of the source is not in the target, a line for each reason."""
    lines = []
    if result.beside:
        lines.append(f'Weights taken from {result.container!r}, beside {", ".join(result.beside)}.')
    for reason, count in Counter(result.dropped.values()).items():
        keys = [key for key, why in result.dropped.items() if why == reason]
        lines.append(f'Left out {count} ({reason}): {", ".join(keys)}')
    return lines or ['Nothing was left out.']
