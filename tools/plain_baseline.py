"""What anyone would try first, on the backbone, weights and pixels of a recipe: a score to beat.

    python tools/plain_baseline.py RECIPE --cfg-options data_root=DIR num_categories=K
    python tools/plain_baseline.py WORK_DIR --checkpoint WORK_DIR/pretrain/final.pth --out FILE.json

Nothing is trained: k-means on the mean feature vectors of the training images, one category an
image, foreground where a feature vector is longer than Otsu's threshold. Validation masks serve
matching and scoring alone, as in the recipe. Prints mean and range over the seeds of k-means.
"""

import json
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.setting_types import OptionAction
from luss_mm.work_dir.atomic_files import refuse_unwritable, write_atomically


@one_line_stops()
def main() -> None:
    """Score, print the figures and write them down."""
    parser = new_parser(__doc__)
    parser.add_argument('recipe', type=Path, metavar='RECIPE_OR_WORK_DIR')
    parser.add_argument('--work-dir', help='of a recipe that refers to its files')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='KEY=VALUE ...')
    parser.add_argument(
        '--checkpoint', help="weights backbone.*, or 'random' (the recipe's checkpoint)"
    )
    parser.add_argument('--seeds', type=int, default=5, help='runs of k-means (5)')
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='figures of every seed')
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error('--seeds: at least 1')

    from luss_mm.inference.frozen_backbone import FIGURES, read_plain_baseline, score_plain_baseline
    from luss_mm.recipes.recipe import read_settings

    settings = read_settings(arguments.recipe, arguments.cfg_options, arguments.work_dir)
    baseline = read_plain_baseline(settings, arguments.checkpoint)
    if arguments.out is not None:
        refuse_unwritable(arguments.out)
    scores = score_plain_baseline(baseline, arguments.seeds)
    if arguments.out is not None:
        write_atomically(arguments.out, json.dumps(scores, indent=1).encode())
    for name in FIGURES:
        print('{}: mean {mean:.2f}, {min:.2f} to {max:.2f}'.format(name, **scores[name]))
    print(
        f'plain baseline: {scores["training_images"]:,} training, '
        f'{scores["validation_images"]:,} validation images, K = {scores["num_clusters"]}, '
        f'{arguments.seeds} seeds of k-means'
    )
    print(f'labels used: {scores["ground_truth_use"]}')
    trained_with = '; '.join(scores['labels_of_weights']) or 'none'
    print(f'weights: {scores["weights"]} (labels that they have seen: {trained_with})')


if __name__ == '__main__':
    main()
