"""The twelve ImageNet-S figures of a folder of label maps, from any method.

    python tools/evaluate.py PRED_DIR GT_DIR --categories 50 --out scores.json

Both folders hold <folder>/<name>.png, 8-bit RGB with id = R + 256 * G: 0 others, 1000 (masks only)
ignored. Every mask needs a prediction of its name and size. Protocols:

    unsupervised  ids are clusters. They are matched to categories on these masks (--matching RULE)
                  or by --match FILE, a JSON object {"generated id": category id}.
    distance, semi, free  ids are category ids; nothing is matched.

A cluster without a category becomes id K + 1: never right and never background. The JSON holds
Acc, mIoU, mBIoU, FMeasure, S, MS, ML, L, BS, BMS, BML and BL in percent (null for a size without an
instance), IoUs and BIoUs of the K + 1 classes, the match and its rule.

--curve scores every threshold of a foreground score in the same pass: ids stay where score >= t and
are 0 elsewhere, matched anew for each t. --scores DIR holds <folder>/<name>.png, grey, 8 or 16 bits
(score = value / 255 or / 65535), or <folder>/<name>.npy, float16 or float32 of shape (H, W), beside
label maps that have not been thresholded. The best threshold is chosen on the masks.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.evaluation.cluster_matching import (
    ClusterMatching,
    GivenMatching,
    MatchingByRule,
    category_ids,
    read_match,
)
from luss_mm.evaluation.label_map_pairs import list_pairs
from luss_mm.evaluation.matched_scores import MatchedScores
from luss_mm.evaluation.score_folders import FolderCounter, count_folders
from luss_mm.evaluation.score_report import (
    figure_table,
    match_entries,
    matching_record,
    official_figures,
)
from luss_mm.functional.matching import MATCHING_RULES
from luss_mm.functional.thresholds import SWEEP_THRESHOLDS, SweepCounts, best_threshold
from luss_mm.terminal import Progress
from luss_mm.work_dir.atomic_files import refuse_unwritable, write_atomically

IGNORED = 1000  # ImageNet-S
PROTOCOLS = ('unsupervised', 'distance', 'semi', 'free')


@one_line_stops()
def main() -> None:
    """Score, write the JSON file and print a table."""
    evaluate(parse_arguments())


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', type=Path, metavar='PRED_DIR')
    parser.add_argument('masks', type=Path, metavar='GT_DIR')
    parser.add_argument('--categories', type=int, required=True, metavar='K')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.json')
    parser.add_argument('--protocol', choices=PROTOCOLS, default='unsupervised')
    parser.add_argument('--clusters', type=int, metavar='G', help='highest generated id (K)')
    parser.add_argument('--matching', choices=MATCHING_RULES, help='default: image_hungarian')
    parser.add_argument('--match', type=Path, metavar='FILE', help='take this match instead')
    parser.add_argument('--scores', type=Path, metavar='DIR', help='foreground scores')
    parser.add_argument(
        '--curve', type=float, nargs='*', metavar='T', help='thresholds (0, .01, ... .80)'
    )
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    arguments = parser.parse_args()
    if not 1 <= arguments.categories < IGNORED:
        parser.error(f'K is 1 to {IGNORED - 1}; {IGNORED} is the id of ignored pixels')
    if arguments.matching and arguments.match:
        parser.error('give --matching or --match: a given match needs no rule')
    if arguments.protocol != 'unsupervised' and (
        arguments.matching or arguments.match or arguments.clusters
    ):
        parser.error(f'{arguments.protocol}: ids are category ids, which nothing matches')
    if (arguments.curve is None) != (arguments.scores is None):
        parser.error('--curve needs --scores DIR, and --scores is for --curve')
    steps = arguments.curve or []
    if steps != sorted(set(steps)):
        parser.error('--curve: thresholds must rise')
    return arguments


def evaluate(arguments: argparse.Namespace) -> None:
    """Score what the command line names."""
    refuse_unwritable(arguments.out)
    pairs, unused = list_pairs(arguments.predictions, arguments.masks, arguments.scores)
    if unused:
        print(f'{unused} predictions have no mask and are left out', file=sys.stderr)
    num_clusters = arguments.clusters or arguments.categories
    matching = choose_matching(arguments, num_clusters)
    thresholds = () if arguments.curve is None else tuple(arguments.curve) or SWEEP_THRESHOLDS
    ids = num_clusters, arguments.categories
    counter = FolderCounter(*ids, matching, thresholds, IGNORED)
    started = time.monotonic()
    progress = Progress('scoring', len(pairs))
    # Nothing that a fork could break has run yet, and a fork imports nothing again.
    method = 'fork' if sys.platform == 'linux' else 'spawn'
    counts, sweep = count_folders(counter, pairs, arguments.workers, progress, method)
    scores = matching.scores(counts)
    figures = official_figures(scores)
    report = figures | details(arguments, scores, matching, counter)
    if sweep is not None:
        report['curve'] = curve(sweep, matching)
    write_atomically(arguments.out, json.dumps(report, indent=1).encode())
    seconds = time.monotonic() - started
    print(figure_table(figures))
    print(f'matching: {matching.name}: {matching.description}')
    if report['unmatched_clusters']:
        print(f'{len(report["unmatched_clusters"])} of {num_clusters} clusters are unmatched')
    if sweep is not None:
        print(
            'best threshold (chosen on these masks): {threshold}: mIoU {mIoU:.2f}'.format(
                **report['curve']['best']
            )
        )
    print(f'{len(pairs):,} images in {seconds:.1f} s ({len(pairs) / seconds:.0f} images/s)')


def choose_matching(arguments: argparse.Namespace, num_clusters: int) -> ClusterMatching:
    """What the protocol, --matching and --match ask for."""
    if arguments.protocol != 'unsupervised':
        return category_ids(arguments.categories)
    if arguments.match:
        return GivenMatching(read_match(arguments.match), num_clusters, arguments.categories)
    rule = arguments.matching or 'image_hungarian'
    return MatchingByRule(rule, num_clusters, arguments.categories)


def details(
    arguments: argparse.Namespace,
    scores: MatchedScores,
    matching: ClusterMatching,
    counter: FolderCounter,
) -> dict[str, object]:
    """What the report says besides the figures."""
    return {
        'size_classes': scores.size_classes,
        'num_images': scores.num_images,
        'protocol': arguments.protocol,
        **matching_record(scores, matching),
        'num_clusters': counter.num_clusters,
        'num_categories': counter.num_categories,
        'ignore_index': counter.ignore_index,
        'boundary_ratio': counter.boundary_ratio,
        'IoUs': (100 * scores.iou).tolist(),
        'BIoUs': (100 * scores.boundary_iou).tolist(),
        'match': match_entries(scores.mapping),
    }


def curve(sweep: SweepCounts, matching: ClusterMatching) -> dict[str, object]:
    """The mIoU in percent at every threshold."""
    threshold, scores = best_threshold(sweep, matching.match)
    return {
        'thresholds': sweep.thresholds,
        'mIoU': (100 * scores).tolist(),
        'best': {'threshold': threshold, 'mIoU': 100 * scores.max()},
        'ground_truth_use': 'the masks of these images, to choose the best threshold',
    }


if __name__ == '__main__':
    main()
