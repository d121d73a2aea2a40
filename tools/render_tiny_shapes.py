"""Render the tiny shapes data set: python tools/render_tiny_shapes.py data/tiny_shapes."""

import argparse
from pathlib import Path

from luss_mm.engine.expected_errors import one_line_stops


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('directory', type=Path, help='data root to write')
    parser.add_argument('--num-train', type=int, default=2000)
    parser.add_argument('--num-validation', type=int, default=400)
    parser.add_argument('--image-size', type=int, default=96)
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


@one_line_stops()
def main() -> None:
    """Render and say what is where."""
    args = parse_args()

    from luss_mm.pipeline.rendered_images import CATEGORIES, RenderTinyShapes

    render = RenderTinyShapes(args.num_train, args.num_validation, args.image_size, args.seed)
    render(args.directory)
    print(
        f'{args.directory}: {args.num_train} training and {args.num_validation} validation images '
        f'of {len(CATEGORIES)} categories'
    )


if __name__ == '__main__':
    main()
