"""The figures of a folder of label maps, as `luss evaluate` asks for them."""

import argparse
import json
import sys
import time

from luss_mm.datasets.image_walk import category_folders
from luss_mm.datasets.mask_files import IGNORE_INDEX
from luss_mm.evaluation.cluster_matching import (
    ClusterMatching,
    GivenMatching,
    MatchingByRule,
    category_ids,
    match_of_names,
)
from luss_mm.evaluation.label_map_pairs import list_pairs
from luss_mm.evaluation.matched_scores import MatchedScores
from luss_mm.evaluation.score_folders import FolderCounter, count_folders
from luss_mm.evaluation.score_report import (
    figure_table,
    matching_record,
    official_figures,
)
from luss_mm.functional.thresholds import SWEEP_THRESHOLDS, SweepCounts, best_threshold
from luss_mm.terminal import Progress
from luss_mm.work_dir.atomic_files import refuse_unwritable, write_atomically
from luss_mm.work_dir.run_folder import match_entries, read_match


def evaluate(arguments: argparse.Namespace) -> None:
    """Score what the command line names, print a table and write a JSON file.

    Args:
        arguments: Of `luss evaluate`.
    """
    refuse_unwritable(arguments.out)
    pairs, unused = list_pairs(arguments.predictions, arguments.masks, arguments.scores)
    if unused:
        print(f'{unused} predictions have no mask and are left out', file=sys.stderr)
    num_clusters = arguments.clusters or arguments.categories
    matching = choose_matching(arguments, num_clusters)
    thresholds = () if arguments.curve is None else tuple(arguments.curve) or SWEEP_THRESHOLDS
    ids = num_clusters, arguments.categories
    counter = FolderCounter(*ids, matching, thresholds, IGNORE_INDEX)
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
        names = ['others', *category_folders(arguments.masks)]
        match = match_of_names(read_match(arguments.match), num_clusters, names)
        return GivenMatching(match, num_clusters, arguments.categories)
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
