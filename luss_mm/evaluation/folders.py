"""Folders of label maps to figures: paired and checked, counted on several processes, scored."""

import argparse
import os
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch

from luss_mm.datasets.image_walk import category_folders
from luss_mm.datasets.mask_files import IGNORE_INDEX, read_label_map
from luss_mm.evaluation.cluster_matching import (
    ClusterMatching,
    GivenMatching,
    MatchingByRule,
    category_ids,
    match_of_names,
)
from luss_mm.evaluation.score_report import figure_table, matching_record, official_figures
from luss_mm.evaluation.segmentation_counts import CountEntries, MatchedScores, SegmentationCounts
from luss_mm.functional.image_tally import tally_image
from luss_mm.functional.scores import boundary_radius
from luss_mm.functional.thresholds import (
    SWEEP_THRESHOLDS,
    SweepCounts,
    best_threshold,
    merge_sweep_counts,
    sweep_counts,
)
from luss_mm.terminal import Progress
from luss_mm.work_dir.atomic_files import refuse_unwritable, write_json
from luss_mm.work_dir.run_folder import match_entries, read_match

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
SCORE_SUFFIXES = ('.npy', '.png')
RGB = 2  # colour type in a PNG's header
SHOWN = 3  # names in a message
CHUNK = 16  # images a task: some 0.1 s
MERGED_AT_ONCE = 64  # chunks of sweep counts that wait to be added up

Result = TypeVar('Result')


class LabelMapPair(NamedTuple):
    """Files of one image.

    Attributes:
        prediction: Predicted ids, an RGB PNG with id = R + 256 G.
        mask: True ids in the same coding.
        score: Foreground score, see `read_foreground_score`; None without one.
    """

    prediction: Path
    mask: Path
    score: Path | None = None


def list_pairs(
    predictions: Path, masks: Path, scores: Path | None = None
) -> tuple[list[LabelMapPair], int]:
    """Pair `<folder>/<name>.png` of predictions and masks and check names, coding and sizes.

    Reads 26 bytes a file, so that what would stop an evaluation stops it before it starts.

    Args:
        predictions: Folder of predicted label maps.
        masks: Folder of true ones; it decides which images there are.
        scores: Folder of foreground scores, `<folder>/<name>.png` or `.npy`.

    Returns:
        The pairs, sorted by the masks' names, and the number of predictions without a mask.

    Raises:
        FileNotFoundError: If a folder is missing, has no label map, or an image has no prediction
            or no score.
        ValueError: If a file is no 8-bit RGB PNG, or sizes differ.
    """
    names = _label_maps(masks)
    predicted = set(_label_maps(predictions))
    _refuse_missing((name for name in names if name not in predicted), predictions, len(names))
    found = [None] * len(names) if scores is None else _find_scores(names, scores)
    files = zip(names, found, strict=True)
    pairs = [LabelMapPair(predictions / name, masks / name, score) for name, score in files]
    for pair in pairs:
        expected, found = label_map_size(pair.mask), label_map_size(pair.prediction)
        if expected != found:
            raise ValueError(
                f'{pair.prediction}: {found[0]} x {found[1]} pixels (height x width), its mask '
                f'{pair.mask} has {expected[0]} x {expected[1]}. Save predictions at image size.'
            )
    return pairs, len(predicted) - len(names)


def label_map_size(path: Path) -> tuple[int, int]:
    """Height and width from the header of a label map.

    Raises:
        ValueError: If it is no 8-bit RGB PNG.
    """
    with open(path, 'rb') as file:
        header = file.read(26)
    if len(header) < 26 or header[:8] != PNG_SIGNATURE or header[12:16] != b'IHDR':
        raise ValueError(f'{path}: not a PNG file. Label maps are RGB PNGs with id = R + 256 * G.')
    width, height, depth, colour = struct.unpack('>IIBB', header[16:26])
    if (depth, colour) != (8, RGB):
        raise ValueError(
            f'{path}: a PNG of {depth} bits and colour type {colour}. Label maps are 8-bit RGB '
            '(colour type 2) with id = R + 256 * G.'
        )
    return height, width


def _label_maps(folder: Path) -> list[str]:
    """Relative paths of all PNGs, in the order of their parts."""
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder.')
    names = sorted(_relative_files(folder, ('.png',)), key=lambda name: name.split('/'))
    if not names:
        raise FileNotFoundError(f'{folder}: no label maps (<folder>/<name>.png) in it.')
    return names


def _relative_files(folder: Path, suffixes: tuple[str, ...]) -> Iterable[str]:
    for parent, _, names in os.walk(folder, onerror=_refuse):
        for name in names:
            if name.endswith(suffixes):
                yield os.path.relpath(os.path.join(parent, name), folder)


def _refuse(error: OSError) -> None:
    """A folder that may not be read would only make the number of images smaller."""
    raise error


def _find_scores(names: list[str], scores: Path) -> list[Path]:
    """Score of each image; an array is taken before a picture."""
    if not scores.is_dir():
        raise FileNotFoundError(f'{scores}: no such folder.')
    files = set(_relative_files(scores, SCORE_SUFFIXES))
    choices = [[os.path.splitext(name)[0] + suffix for suffix in SCORE_SUFFIXES] for name in names]
    found = [next(filter(files.__contains__, choice), None) for choice in choices]
    missing = (name for name, score in zip(names, found, strict=True) if score is None)
    _refuse_missing(missing, scores, len(names))
    return [scores / score for score in found]


def _refuse_missing(names: Iterable[str], folder: Path, total: int) -> None:
    missing = list(names)
    if missing:
        shown = ', '.join(missing[:SHOWN])
        more = ', ...' if len(missing) > SHOWN else ''
        raise FileNotFoundError(
            f'{folder}: {len(missing)} of {total} images are missing: {shown}{more}. '
            'Every mask needs a file of its name.'
        )


@dataclass(frozen=True)
class FolderCounter:
    """Counts pairs of label maps; sent to every process.

    Args:
        num_clusters: G, highest id of a prediction.
        num_categories: C, highest id of a mask.
        matching: What turns generated ids into categories.
        thresholds: Thresholds of foreground scores, for the curve; empty for no curve.
        ignore_index: Mask id of pixels that count nowhere.
        boundary_ratio: Radius of the boundary band as a share of the image diagonal.
    """

    num_clusters: int
    num_categories: int
    matching: ClusterMatching
    thresholds: tuple[float, ...] = ()
    ignore_index: int = 1000
    boundary_ratio: float = 0.03

    def __call__(self, pairs: Sequence[LabelMapPair]) -> tuple[tuple, SweepCounts | None]:
        """Count a few images.

        Returns:
            Fields of `CountEntries` as numpy arrays, and sweep counts if there are thresholds.

        Raises:
            ValueError: If a file cannot be read or an id is out of range; it names the file.
        """
        parts, sweeps = [], []
        for pair in pairs:
            predicted, truth = self.read(pair)
            score = read_foreground_score(pair.score) if self.thresholds else None
            try:
                parts.append(self._count_image(predicted, truth))
                if score is not None:
                    sweeps.append(self._sweep_image(predicted, truth, score))
            except ValueError as error:
                files = ' against '.join(str(path) for path in pair[:2])
                raise ValueError(f'{files}: {error}') from error
        positions = torch.cat([part.positions for part in parts])
        amounts = torch.cat([part.amounts for part in parts])
        counted = amounts != 0
        entries = (  # tensors would be sent as open files
            positions[counted].numpy(),
            amounts[counted].numpy(),
            sum((part.open_images for part in parts), []),
        )
        return entries, merge_sweep_counts(sweeps) if sweeps else None

    def read(self, pair: LabelMapPair) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and true ids of one image, as they are counted. Both of shape (H, W)."""
        return read_label_map(pair.prediction), read_label_map(pair.mask)

    def _count_image(self, predicted: np.ndarray, truth: np.ndarray) -> CountEntries:
        tally = tally_image(
            torch.from_numpy(predicted),
            torch.from_numpy(truth),
            self.num_clusters,
            self.num_categories,
            self.ignore_index,
            boundary_radius(*truth.shape, self.boundary_ratio),
        )
        return self.matching.entries(tally)

    def _sweep_image(
        self, predicted: np.ndarray, truth: np.ndarray, score: np.ndarray
    ) -> SweepCounts:
        if score.shape != predicted.shape:
            raise ValueError(f'its foreground score is {score.shape}, the label map {truth.shape}')
        return sweep_counts(
            np.where(predicted > 0, score, -np.inf),  # 0 is background at every threshold
            predicted.clip(min=1),
            truth,
            self.num_clusters,
            self.num_categories,
            self.thresholds,
            self.ignore_index,
        )


def count_folders(
    counter: FolderCounter,
    pairs: Sequence[LabelMapPair],
    workers: int,
    progress: Progress | None = None,
    start_method: str = 'forkserver',
) -> tuple[SegmentationCounts, SweepCounts | None]:
    """Count all pairs.

    The counts are those of one process in any order, bit for bit. Besides one
    `SegmentationCounts`, only what is not added up yet is in memory; of a curve, what
    `SweepCounts` says.

    Args:
        counter: What to count.
        pairs: Pairs from `list_pairs`.
        workers: Processes; 1 counts in this one.
        progress: Advanced by the images that are done.
        start_method: Start method of the processes, see `multiprocessing`. 'fork' starts faster,
            but hangs once torch or OpenCV have run on several threads in this process.

    Returns:
        The counts, and those of the curve if the counter has thresholds.

    Raises:
        ValueError: If a file cannot be read or an id is out of range; it names the file.
    """
    counts, sweeps = SegmentationCounts(counter.matching.layout), []
    starts = range(0, len(pairs), CHUNK)
    chunks = (pairs[start : start + CHUNK] for start in starts)
    for start, (entries, sweep) in zip(
        starts, _in_processes(counter, chunks, workers, start_method), strict=True
    ):
        positions, amounts, open_images = entries
        counts.add(
            CountEntries(torch.from_numpy(positions), torch.from_numpy(amounts), open_images)
        )
        if sweep is not None:
            sweeps.append(sweep)
        if len(sweeps) > MERGED_AT_ONCE:
            sweeps = [merge_sweep_counts(sweeps)]
        if progress is not None:
            progress.advance(min(CHUNK, len(pairs) - start))
    return counts, merge_sweep_counts(sweeps) if sweeps else None


def read_foreground_score(path: Path) -> np.ndarray:
    """Foreground score of each pixel.

    Args:
        path: A grey PNG of 8 or 16 bits, the score over 255 or 65535; or a `.npy` file, float16 or
            float32, the score as it is.

    Returns:
        Score, float32. Shape (H, W).

    Raises:
        ValueError: If the file is none of these.
    """
    if path.suffix == '.npy':
        score = _load_array(path)
        scale, fits = 1.0, score.dtype in (np.float16, np.float32)
    else:
        score = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        fits = score is not None and score.dtype in (np.uint8, np.uint16)
        scale = np.iinfo(score.dtype).max if fits else 1.0
    if not fits or score.ndim != 2:
        raise ValueError(
            f'{path}: a foreground score is a grey PNG of 8 or 16 bits or a (H, W) .npy of float16 '
            'or float32'
        )
    return (score / np.float32(scale)).astype(np.float32)


def _load_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged header makes numpy's parser stumble over anything
        raise ValueError(f'{path}: not a plain .npy array ({error})') from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f'{path}: several arrays. Save the score alone.')
    return array


def _in_processes(
    function: Callable[..., Result], chunks: Iterable, workers: int, start_method: str
) -> Iterator[Result]:
    """Results in the order of the chunks."""
    if workers <= 1:
        yield from map(function, chunks)
        return
    context = get_context(start_method)
    if start_method == 'forkserver':
        context.set_forkserver_preload([__name__])  # imported once, not by every process
    cv2_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a forked process would wait for this one's OpenCV threads for ever
    try:
        with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
            yield from pool.map(function, chunks)
    finally:
        cv2.setNumThreads(cv2_threads)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def evaluate(arguments: argparse.Namespace) -> None:
    """Score what the command line names, print a table and write a JSON file.

    Args:
        arguments: Arguments from `luss evaluate`.
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
    report = folder_report(scores, matching, counter, protocol=arguments.protocol)
    if sweep is not None:
        report['curve'] = curve(sweep, matching)
    write_json(arguments.out, report, indent=1)
    seconds = time.monotonic() - started
    print(figure_table(official_figures(scores)))
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


def folder_report(
    scores: MatchedScores, matching: ClusterMatching, counter: FolderCounter, **more: Any
) -> dict[str, Any]:
    """All that a file of scores says.

    Args:
        scores: Scores of all images.
        matching: How clusters became categories.
        counter: That has counted the images.
        **more: What else, as the protocol.
    """
    return {
        **official_figures(scores),
        'size_classes': scores.size_classes,
        'num_images': scores.num_images,
        **matching_record(scores, matching),
        **more,
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
