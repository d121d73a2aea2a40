"""How well frozen features follow category folders: k-NN accuracy, NMI and accuracy of k-means.

    python tools/evaluate_features.py RECIPE DIR/train --queries DIR/held-out \
        --checkpoint random work_dirs/pass_tiny30k/pretrain/epoch_*.pth --out FILE.json
    python tools/evaluate_features.py RECIPE DIR/train --cfg-options resize_side=128

Takes network, image size and weights from the recipe (or the run) and looks at the category folders
of both folders of images. Without --queries every fifth image is one. Pretraining must not have
seen the queries: what a network was trained on is no proof of what it knows.
"""

import json
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.setting_types import OptionAction
from luss_mm.work_dir.atomic_files import refuse_unwritable, write_atomically


@one_line_stops()
def main() -> None:
    """Print a line for each checkpoint and write all of them down."""
    parser = new_parser(__doc__)
    parser.add_argument('recipe', type=Path, metavar='RECIPE_OR_WORK_DIR')
    parser.add_argument('references', type=Path, help='folder of category folders')
    parser.add_argument('--queries', type=Path, help='another one (every fifth reference)')
    parser.add_argument(
        '--checkpoint', nargs='+', help="weights backbone.*, or 'random' (the recipe's checkpoint)"
    )
    parser.add_argument('--neighbours', type=int, help='that vote (as many as is usual)')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='KEY=VALUE ...')
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='a list of all figures')
    arguments = parser.parse_args()

    from luss_mm.inference.frozen_backbone import (
        NEIGHBOURS,
        read_frozen_backbone,
        score_features,
    )
    from luss_mm.recipes.recipe import read_settings

    # A recipe looks at its folder; the images come from the two folders that are named.
    given = arguments.cfg_options or {}
    root = {} if arguments.recipe.is_dir() else dict(data_root=str(arguments.references))
    settings = read_settings(arguments.recipe, root | given)
    backbones = [
        read_frozen_backbone(settings, checkpoint) for checkpoint in arguments.checkpoint or [None]
    ]
    if arguments.out is not None:
        refuse_unwritable(arguments.out)
    neighbours = NEIGHBOURS if arguments.neighbours is None else arguments.neighbours
    found = []
    for backbone in backbones:
        scores = score_features(backbone, arguments.references, arguments.queries, neighbours)
        print(
            '{weights}: k-NN {knn:.2f}, NMI {nmi:.2f}, clusters {accuracy:.2f} ({queries:,} '
            'queries, {references:,} references, {categories} categories)'.format(**scores)
        )
        found.append(scores)
        if arguments.out is not None:
            write_atomically(arguments.out, json.dumps(found, indent=1).encode())
    print(f'labels used: {scores["ground_truth_use"]}')


if __name__ == '__main__':
    main()
