"""Segment an image or a folder of images with a trained run.

    luss infer work_dirs/pass_s50 photos/ --out predictions/
    luss infer checkpoint.pth photo.jpg --config config.py --out predictions/

It writes, below --out and mirroring the folders of the images,

    labels/<image>.png     ids as RGB: id = R + 256 * G, 0 others, so more than 255 ids fit
    overlays/<image>.jpg   the image coloured by its ids, with their names
    listing.csv            a row for each image and id: pixels and share of the area
    summary.json           how often each id occurs; bad_images.json: what could not be read

Ids are clusters. They are called by the categories that the run's evaluation matched them to, or
--names FILE ({"id": "name"}), or else cluster <id>. Categories never come from folder names.

The same command goes on where it was interrupted. Weights, and configs that lie with them, are read
as data and never executed; a config named by --config is executed.
"""

import argparse
import json
import sys
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.setting_types import device

OUTPUTS = ('labels', 'overlays')
SHOWN_BAD_IMAGES = 20


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Segment, and list what could not be read."""
    parser = new_parser(__doc__)
    parser.add_argument('source', metavar='WORK_DIR_OR_CHECKPOINT')
    parser.add_argument('images', type=Path, metavar='IMAGES', help='a folder or one image')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--config', help='of a checkpoint (default: beside or in it)')
    parser.add_argument('--names', default='run', metavar='FILE|none', help='of the ids')
    parser.add_argument('--outputs', nargs='+', choices=OUTPUTS, default=list(OUTPUTS))
    parser.add_argument('--batch-size', type=int, default=16, help='images of one size at once')
    parser.add_argument('--workers', type=int, default=2, help='threads that load and write')
    parser.add_argument(
        '--device', type=device, help='cpu, cuda, cuda:1 ... (default: a GPU if any)'
    )
    parser.add_argument(
        '--refine',
        action='store_true',
        help='move the edges of the foreground to edges of colour (GrabCutSegmenter)',
    )
    parser.add_argument('--on-bad-image', choices=('skip', 'error'), default='skip')
    parsed = parser.parse_args(arguments)
    if parsed.batch_size < 1 or parsed.workers < 1:
        parser.error('--batch-size and --workers are at least 1')
    infer(parsed)


def infer(parsed: argparse.Namespace) -> None:
    """Write what the command line names."""
    from luss_mm.inference.infer_folder import BAD_IMAGES, LISTING, FolderInference
    from luss_mm.inference.inferencer import LUSSInferencer
    from luss_mm.terminal import quieten

    quieten()

    model = (parsed.source,) if parsed.config is None else (parsed.config, parsed.source)
    inferencer = LUSSInferencer(
        *model,
        device=parsed.device,
        names=parsed.names,
        refine=dict(type='GrabCutSegmenter') if parsed.refine else None,
    )
    FolderInference(
        inferencer,
        parsed.images,
        parsed.outputs,
        parsed.batch_size,
        parsed.on_bad_image,
        parsed.workers,
    ).write(parsed.out)
    bad = json.loads((parsed.out / BAD_IMAGES).read_text())
    for image in bad[:SHOWN_BAD_IMAGES]:
        print(f'bad image: {image["problem"]}', file=sys.stderr)
    if bad:
        print(f'{len(bad)} images skipped, all in {parsed.out / BAD_IMAGES}', file=sys.stderr)
    refined_by = inferencer.refined_by
    refined = f'; predictions refined by {refined_by}' if refined_by else ''
    print(f'{parsed.out}: {", ".join(sorted(parsed.outputs))}, {LISTING}{refined}')
