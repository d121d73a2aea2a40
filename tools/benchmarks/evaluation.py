"""Our evaluation against the published steps: speed, and every figure, on the same files.

    python tools/benchmarks/evaluation.py --out evaluation.json

For each K it writes generated 375 x 500 pairs of label maps (PNG), scores them under one given
match with `luss_mm.evaluation` and with `toolbox_loop.py`, on equally many processes and in one
run, and writes pairs/s of both (reading included), their ratio and the largest difference over the
twelve figures and all IoUs. CPU time is that of all processes; where other jobs load the machine it
says more than the clock. Then the matching of K = 919 over as many images as validation has.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from luss_mm.cli.arguments import new_parser
from luss_mm.evaluation.cluster_matching import GivenMatching
from luss_mm.evaluation.folders import FolderCounter, LabelMapPair, count_folders, list_pairs
from luss_mm.evaluation.score_report import official_figures
from luss_mm.functional.label_codec import encode_label_map
from luss_mm.functional.matching import match_clusters

import cv2
import numpy as np
import torch
from comparison import cost, rate, write_report
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from toolbox_loop import evaluate_pairs, figures_of_sums, presence_by_pairs

Result = TypeVar('Result')
HEIGHT, WIDTH = 375, 500
IGNORED = 1000
VALIDATION_IMAGES = 12_419  # of ImageNet-S919


def main() -> None:
    """Measure, write the JSON file and print the comparisons."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--pairs', type=int, default=300)
    parser.add_argument('--categories', type=int, nargs='*', default=[50, 919])
    parser.add_argument('--images', type=int, default=VALIDATION_IMAGES, help='of the matching')
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    report = dict(
        size=f'{HEIGHT} x {WIDTH}',
        pairs=arguments.pairs,
        workers=arguments.workers,
    )
    for num_categories in arguments.categories:
        report[f'K={num_categories}'] = compare(num_categories, arguments.pairs, arguments.workers)
    if arguments.images:
        report['matching K=919'] = compare_matching(919, arguments.images)
    report['comparisons'] = describe(report, arguments)
    write_report(arguments.out, report)


def describe(report: dict, arguments: argparse.Namespace) -> dict[str, dict]:
    """See `comparison.py`."""
    comparisons = {}
    for num_categories in arguments.categories:
        found = report[f'K={num_categories}']
        comparisons[f'twelve figures, K = {num_categories}, {HEIGHT} x {WIDTH}'] = rate(
            found['ours_pairs_per_second'],
            found['steps_pairs_per_second'],
            f'pairs/s ({arguments.workers} processes)',
            'plain loop of the published steps',
        )
    if arguments.images:
        found = report['matching K=919']
        comparisons[f'matching, K = 919, {arguments.images:,} images'] = cost(
            found['ours_counting_seconds'] + found['ours_matching_seconds'],
            found['steps_counting_seconds'],
            's',
            'pair by pair, without its assignment',
        )
    return comparisons


def compare(num_categories: int, num_pairs: int, workers: int) -> dict[str, float]:
    """Speed and agreement on generated pairs."""
    random = np.random.default_rng(num_categories)
    match = np.append(0, random.permutation(num_categories) + 1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for index in range(num_pairs):
            write_pair(root, index, match, random)
        ours, our_seconds, our_cpu = timed(lambda: score_ours(root, match, workers))
        steps, step_seconds, step_cpu = timed(lambda: score_step_by_step(root, match, workers))
    return dict(
        ours_pairs_per_second=round(num_pairs / our_seconds, 1),
        steps_pairs_per_second=round(num_pairs / step_seconds, 1),
        ratio=round(step_seconds / our_seconds, 1),
        ours_cpu_milliseconds_a_pair=round(1000 * our_cpu / num_pairs, 2),
        steps_cpu_milliseconds_a_pair=round(1000 * step_cpu / num_pairs, 2),
        cpu_ratio=round(step_cpu / our_cpu, 1),
        largest_difference_in_percent=largest_difference(ours, steps),
        figures={name: value for name, value in ours.items() if not isinstance(value, list)},
    )


def timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """The result, seconds on the clock, and CPU seconds of this process and its children."""
    clock, cpu = time.perf_counter(), cpu_seconds()
    result = work()
    return result, time.perf_counter() - clock, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def score_ours(root: Path, match: np.ndarray, workers: int) -> dict[str, object]:
    """Figures as `tools/evaluate.py` gets them."""
    num_categories = len(match) - 1
    matching = GivenMatching(dict(enumerate(match.tolist())), num_categories, num_categories)
    pairs, _ = list_pairs(root / 'predictions', root / 'masks')
    counter = FolderCounter(num_categories, num_categories, matching)
    counts, _ = count_folders(counter, pairs, workers, start_method='fork')
    scores = matching.scores(counts)
    ious = dict(IoUs=(100 * scores.iou).tolist(), BIoUs=(100 * scores.boundary_iou).tolist())
    return official_figures(scores) | ious


def score_step_by_step(root: Path, match: np.ndarray, workers: int) -> dict[str, object]:
    """Figures by the published steps, images shared out over processes."""
    pairs, _ = list_pairs(root / 'predictions', root / 'masks')
    work = partial(evaluate_pairs, match=dict(enumerate(match)), num_categories=len(match) - 1)
    shares = [pairs[start : start + 10] for start in range(0, len(pairs), 10)]
    with ProcessPoolExecutor(workers, get_context('fork')) as pool:
        parts = list(pool.map(partial(as_numpy, work), shares))
    sums = {key: sum(part[key] for part in parts) for key in parts[0]}
    return figures_of_sums(sums | {'areas': torch.from_numpy(sums['areas'])})


def as_numpy(work: partial, pairs: list[LabelMapPair]) -> dict[str, object]:
    """Sums of a share of the images, without tensors: those would be sent as open files."""
    sums = work(pairs)
    return sums | {'areas': sums['areas'].numpy()}


def largest_difference(ours: dict[str, object], theirs: dict[str, object]) -> float:
    """Largest absolute difference over all figures; sizes without instance must agree."""
    differences = []
    for name, value in theirs.items():
        if value is None or ours[name] is None:
            assert value is None and ours[name] is None, name
        else:
            differences.append(np.abs(np.subtract(ours[name], value)).max())
    return float(max(differences))


def write_pair(root: Path, index: int, match: np.ndarray, random: np.random.Generator) -> None:
    """A mask of one to three ellipses and a prediction that roughly follows it, as PNGs."""
    num_categories = len(match) - 1
    truth = np.zeros((HEIGHT, WIDTH), np.int32)
    for category in random.integers(1, num_categories + 1, random.integers(1, 4)):
        centre = (int(random.integers(WIDTH)), int(random.integers(HEIGHT)))
        axes = tuple(int(a) for a in random.integers(10, 240, 2))
        cv2.ellipse(truth, centre, axes, int(random.integers(180)), 0, 360, int(category), -1)
    predicted = np.argsort(match)[np.roll(truth, random.integers(-15, 16, 2), axis=(0, 1))]
    coarse = random.random((24, 32)).astype(np.float32)
    noisy = cv2.resize(coarse, (WIDTH, HEIGHT)) > 0.8
    few = random.integers(0, num_categories + 1, 5)
    predicted[noisy] = cv2.resize(
        few[random.integers(0, 5, (24, 32))].astype(np.float32),
        (WIDTH, HEIGHT),
        interpolation=cv2.INTER_NEAREST,
    )[noisy]
    outline = cv2.morphologyEx(truth.astype(np.uint16), cv2.MORPH_GRADIENT, np.ones((5, 5)))
    truth[outline > 0] = IGNORED
    for name, labels in (('predictions', predicted), ('masks', truth)):
        path = root / name / f'n{index % 10}' / f'{index:06d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), encode_label_map(labels)[..., ::-1])


def compare_matching(num_ids: int, num_images: int) -> dict[str, float]:
    """The official matching from which ids each image holds."""
    random = np.random.default_rng(0)
    true = [random.integers(1, num_ids + 1, random.integers(1, 3)) for _ in range(num_images)]
    predicted = [
        np.unique(np.append(ids % num_ids + 1, random.integers(1, num_ids + 1, 4))) for ids in true
    ]
    true = [np.unique(ids) for ids in true]

    started = time.perf_counter()
    positions = [
        ((p - 1)[:, None] * num_ids + (t - 1)).ravel() for p, t in zip(predicted, true, strict=True)
    ]
    counts = np.bincount(np.concatenate(positions), minlength=num_ids**2).reshape(num_ids, num_ids)
    counted = time.perf_counter()
    mapping = match_clusters(counts)
    matched = time.perf_counter()
    as_sets = [set(ids.tolist()) for ids in predicted], [set(ids.tolist()) for ids in true]
    expected = presence_by_pairs(*as_sets, num_ids)
    finished = time.perf_counter()
    assert np.array_equal(counts, expected)
    # Another solver's optimum: it wants positive costs and takes the smallest sum.
    rows, columns = min_weight_full_bipartite_matching(csr_array(expected.max() + 1 - expected))
    return dict(
        images=num_images,
        ours_counting_seconds=round(counted - started, 3),
        ours_matching_seconds=round(matched - counted, 3),
        steps_counting_seconds=round(finished - matched, 2),
        ours_total=int(counts[np.arange(num_ids), mapping[1:] - 1].sum()),
        total_of_another_solver=int(expected[rows, columns].sum()),
    )


if __name__ == '__main__':
    main()
