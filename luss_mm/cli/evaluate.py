"""The twelve ImageNet-S figures of a folder of label maps, from any method.

    luss evaluate PRED_DIR GT_DIR --categories 50 --out scores.json

Both folders hold <folder>/<name>.png, 8-bit RGB with id = R + 256 * G: 0 others, 1000 (masks only)
ignored. Every mask needs a prediction of its name and size. Protocols:

    unsupervised  ids are clusters. They are matched to categories on these masks (--matching RULE)
                  or by --match FILE, a JSON object {"generated id": category id}.
    distance, semi, free  ids are category ids; nothing is matched.

A cluster without a category becomes id K + 1: never right and never background. The JSON holds
Acc, mIoU, mBIoU, FMeasure, S, MS, ML, L, BS, BMS, BML and BL in percent (null for a size without an
instance), IoUs and BIoUs of the K + 1 classes, the match and its rule.

--curve scores every threshold of a foreground score in the same pass: ids stay where score >= t and
are 0 elsewhere, matched for each t. --scores DIR holds <folder>/<name>.png, grey, 8 or 16 bits
(score = value / 255 or / 65535), or <folder>/<name>.npy, float16 or float32 of shape (H, W), beside
label maps that have not been thresholded. The best threshold is chosen on the masks.
"""

import os
from pathlib import Path

from luss_mm.cli.arguments import new_parser, one_of
from luss_mm.engine.expected_errors import one_line_stops

IGNORED = 1000  # ImageNet-S
PROTOCOLS = ('unsupervised', 'distance', 'semi', 'free')
RULES = ('luss_mm.functional.matching', 'MATCHING_RULES')


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Score, write the JSON file and print a table."""
    parser = new_parser(__doc__)
    parser.add_argument('predictions', type=Path, metavar='PRED_DIR')
    parser.add_argument('masks', type=Path, metavar='GT_DIR')
    parser.add_argument('--categories', type=int, required=True, metavar='K')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.json')
    parser.add_argument('--protocol', choices=PROTOCOLS, default='unsupervised')
    parser.add_argument('--clusters', type=int, metavar='G', help='highest generated id (K)')
    parser.add_argument('--matching', type=one_of(*RULES), help='default: image_hungarian')
    parser.add_argument('--match', type=Path, metavar='FILE', help='take this match instead')
    parser.add_argument('--scores', type=Path, metavar='DIR', help='foreground scores')
    parser.add_argument(
        '--curve', type=float, nargs='*', metavar='T', help='thresholds (0, .01, ... .80)'
    )
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    parsed = parser.parse_args(arguments)
    if not 1 <= parsed.categories < IGNORED:
        parser.error(f'K is 1 to {IGNORED - 1}; {IGNORED} is the id of ignored pixels')
    if parsed.matching and parsed.match:
        parser.error('give --matching or --match: a given match needs no rule')
    if parsed.protocol != 'unsupervised' and (parsed.matching or parsed.match or parsed.clusters):
        parser.error(f'{parsed.protocol}: ids are category ids, which nothing matches')
    if (parsed.curve is None) != (parsed.scores is None):
        parser.error('--curve needs --scores DIR, and --scores is for --curve')
    steps = parsed.curve or []
    if steps != sorted(set(steps)):
        parser.error('--curve: thresholds must rise')

    from luss_mm.evaluation.folders import evaluate
    from luss_mm.terminal import quieten

    quieten()

    evaluate(parsed)
