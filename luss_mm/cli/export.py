"""Write a trained segmentor as one file for other programs, checked against PyTorch.

    luss export work_dirs/pass_s50 --out pass.onnx
    luss export work_dirs/pass_s50 --out pass.pt2 --output labels

.onnx needs pip install onnx onnxscript onnxruntime; .pt2 is torch.export's, .ts TorchScript.
In: `image`, float32 (B, 3, H, W), resized and normalised as the JSON file beside the export says.
Out: logits (B, K + 1, h, w) at the decode head's size, or labels (B, H, W), int64, at the input's.

The file is run on images of every --sizes and must agree with PyTorch, or it is not kept. With one
size the file takes that size only.
"""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

if TYPE_CHECKING:
    from torch import nn

    from luss_mm.inference.trained_segmentor import TrainedSegmentor

LOADING = {
    '.onnx': "onnxruntime.InferenceSession(FILE).run(None, {'image': image})",
    '.pt2': 'torch.export.load(FILE).module(check_guards=False)(image)',
    '.ts': 'torch.jit.load(FILE)(image)',
}


def size(text: str) -> tuple[int, int]:
    """Height and width of 'HxW'."""
    if not (match := re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)):
        raise argparse.ArgumentTypeError(f'{text!r} is no size like 224x320')
    return int(match[1]), int(match[2])


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Export, check and describe."""
    parser = new_parser(__doc__)
    parser.add_argument('source', metavar='WORK_DIR_OR_CHECKPOINT')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.onnx|.pt2|.ts')
    parser.add_argument('--config', help='of a checkpoint (default: beside or in it)')
    parser.add_argument('--output', choices=('logits', 'labels'), default='logits')
    parser.add_argument('--sizes', nargs='+', type=size, metavar='HxW')
    parsed = parser.parse_args(arguments)
    from luss_mm.inference.export import CHECKED_SIZES, export_segmentor
    from luss_mm.inference.trained_segmentor import find_segmentor
    from luss_mm.work_dir.atomic_files import write_atomically

    source = find_segmentor(parsed.source, parsed.config)
    model = source.build()
    check = export_segmentor(model, parsed.out, parsed.output, parsed.sizes or CHECKED_SIZES)
    notes = describe(source, model, parsed, check.num_ids) | asdict(check)
    path = parsed.out.with_name(f'{parsed.out.name}.json')
    write_atomically(path, json.dumps(notes, indent=1).encode())
    tried = ', '.join(f'{height} x {width}' for height, width in check.sizes)
    print(
        f'{parsed.out}: {parsed.output} of {check.num_ids} ids; largest difference to PyTorch '
        f'{check.largest_difference:.3g} (allowed {check.tolerance:.3g}) at {tried}. '
        f'Preprocessing and names: {path}'
    )


def describe(
    source: 'TrainedSegmentor', model: 'nn.Module', parsed: argparse.Namespace, num_ids: int
) -> dict[str, object]:
    """What a program that runs the file must know."""
    from luss_mm.evaluation.cluster_names import name_of, run_names
    from luss_mm.recipes.image_preparation import image_transforms

    preprocessor = model.data_preprocessor
    normalises = preprocessor._enable_normalize
    names = run_names(source.folder)
    return dict(
        checkpoint=str(source.checkpoint),
        call=LOADING[parsed.out.suffix],
        output=parsed.output,
        transforms=image_transforms(source.test_pipeline),
        mean=preprocessor.mean.flatten().tolist() if normalises else None,
        std=preprocessor.std.flatten().tolist() if normalises else None,
        channels='RGB' if preprocessor._channel_conversion else 'BGR',
        padding=preprocessor.test_cfg,
        names={str(i): name_of(i, names) for i in range(num_ids)},
    )
