"""Folders of label maps to counts, on several processes, in memory that does not grow."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch

from luss_mm.datasets.mask_files import read_label_map
from luss_mm.evaluation.cluster_matching import ClusterMatching
from luss_mm.evaluation.label_map_pairs import LabelMapPair
from luss_mm.evaluation.segmentation_counts import CountEntries, SegmentationCounts
from luss_mm.functional.image_tally import tally_image
from luss_mm.functional.scores import boundary_radius
from luss_mm.functional.thresholds import SweepCounts, merge_sweep_counts, sweep_counts
from luss_mm.terminal import Progress

CHUNK = 16  # images a task: some 0.1 s
MERGED_AT_ONCE = 64  # chunks of sweep counts that wait to be added up

Result = TypeVar('Result')


@dataclass(frozen=True)
class FolderCounter:
    """Counts pairs of label maps; sent to every process.

    Args:
        num_clusters: G, highest id of a prediction.
        num_categories: C, highest id of a mask.
        matching: What turns generated ids into categories.
        thresholds: Of foreground scores, for the curve; empty for no curve.
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
    `SegmentationCounts`, only a few chunks of images are in memory at a time; of a curve, what
    `SweepCounts` says.

    Args:
        counter: What to count.
        pairs: Of `list_pairs`.
        workers: Processes; 1 counts in this one.
        progress: Advanced by the images that are done.
        start_method: Of the processes, see `multiprocessing`. 'fork' starts faster, but hangs once
            torch or OpenCV have run on several threads in this process.

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
    """Results in the order of the chunks; never more than a few of them wait."""
    if workers <= 1:
        yield from map(function, chunks)
        return
    context = get_context(start_method)
    if start_method == 'forkserver':
        context.set_forkserver_preload([__name__])  # imported once, not by every process
    cv2_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a forked process would wait for this one's OpenCV threads for ever
    pool = ProcessPoolExecutor(workers, context, initializer=_one_thread)
    try:
        waiting: deque[Future] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(function, chunk))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(cv2_threads)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
