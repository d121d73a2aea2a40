"""A test set of images with two categories each, from photographs of one.

    python tools/make_collages.py DATA_ROOT OUT --pairs 100 --seed 0

Photographs of DATA_ROOT/validation/<category>/ are put side by side in pairs of two categories,
their masks of DATA_ROOT/validation-segmentation/ too. OUT has the same category folders, so the ids
stay what they are. It has no training images: train on those of DATA_ROOT.
"""

from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops


@one_line_stops()
def main() -> None:
    """Read the command line and write the collages."""
    parser = new_parser(__doc__)
    parser.add_argument('data_root', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--pairs', type=int, required=True, metavar='N', help='collages')
    parser.add_argument('--seed', type=int, default=0, help='of all choices (0)')
    arguments = parser.parse_args()

    from luss_mm.pipeline.rendered_images import make_collages

    make_collages(arguments.data_root, arguments.out, arguments.pairs, arguments.seed)
    print(f'{arguments.pairs} collages: {arguments.out}')


if __name__ == '__main__':
    main()
