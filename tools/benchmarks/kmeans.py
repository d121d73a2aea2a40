"""k-means over all embeddings: faiss as we call it and scikit-learn, on the same points.

    python tools/benchmarks/kmeans.py --out kmeans.json                    (64,431 x 512, K = 50)
    python tools/benchmarks/kmeans.py --out kmeans.json --points 118000 --channels 2048 \
        --clusters 919 --iterations 2
    python tools/benchmarks/kmeans.py --out kmeans.json --points 1183322 --channels 2048 \
        --clusters 919 --iterations 1 --restarts 1 --memory-map DIR    (a file of 9.7 GB in DIR)

All run Lloyd's algorithm from randomly drawn points with the same number of iterations and restarts
on all cores, in turn. Needs scikit-learn (`pip install -e '.[benchmarks]'`). Points come from a
mixture of Gaussians on the unit sphere, so that all have the same structure to find; their
objectives are compared too. Peak memory is counted beyond the points themselves. With `--memory-
map` ours alone is measured: scikit-learn would copy the file into memory.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.functional.kmeans import fit_kmeans

import numpy as np
from comparison import cost, write_report

DIRECTIONS, WRITE_ROWS = 50, 16_000


def main() -> None:
    """Measure, write the JSON file and print the comparisons."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--points', type=int, default=64_431, help='images of ImageNet-S50')
    parser.add_argument('--channels', type=int, default=512)
    parser.add_argument('--clusters', type=int, default=50)
    parser.add_argument('--iterations', type=int, default=20)
    parser.add_argument('--restarts', type=int, default=3)
    parser.add_argument(
        '--memory-map', type=Path, metavar='DIR', help='points in a file in DIR, ours alone'
    )
    arguments = parser.parse_args()
    report = (measure_mapped if arguments.memory_map else compare)(arguments)
    write_report(arguments.out, report)


def measure_mapped(arguments: argparse.Namespace) -> dict[str, object]:
    """Ours on points that may be more than memory holds."""
    settings = (arguments.clusters, arguments.iterations, arguments.restarts)
    with tempfile.TemporaryDirectory(dir=arguments.memory_map) as folder:
        write_embeddings(Path(folder), arguments.points, arguments.channels)
        points = np.load(Path(folder, 'embeddings.npy'), mmap_mode='r')
        ours = measured(lambda: fit_kmeans(points, *settings, seed=0).objective)
    work = f'k-means, {arguments.points:,} x {arguments.channels}, K = {arguments.clusters}, mapped'
    return dict(ours=ours, comparisons={work: cost(ours['cpu_seconds'], None, 'CPU s')})


def compare(arguments: argparse.Namespace) -> dict[str, object]:
    """Ours and scikit-learn's."""
    settings = (arguments.clusters, arguments.iterations, arguments.restarts)
    points = draw_points(arguments.points, arguments.channels, arguments.clusters)
    ours = measured(lambda: fit_kmeans(points, *settings, seed=0).objective)
    theirs = measured(lambda: scikit_learn(points, *settings))
    return dict(
        points=f'{arguments.points} x {arguments.channels}',
        clusters=arguments.clusters,
        iterations=arguments.iterations,
        restarts=arguments.restarts,
        ours=ours,
        scikit_learn=theirs,
        ratio=round(theirs['seconds'] / ours['seconds'], 2),
        cpu_ratio=round(theirs['cpu_seconds'] / ours['cpu_seconds'], 2),
        objective_ratio=round(ours['result'] / theirs['result'], 4),
        comparisons=describe(arguments, ours, theirs),
    )


def describe(
    arguments: argparse.Namespace,
    ours: dict[str, float],
    theirs: dict[str, float],
) -> dict[str, dict]:
    """See `comparison.py`; CPU seconds, since other jobs may share the machine."""
    work = f'k-means, {arguments.points:,} x {arguments.channels}, K = {arguments.clusters}'
    return {
        work: cost(ours['cpu_seconds'], theirs['cpu_seconds'], 'CPU s', 'scikit-learn'),
        f'{work}, memory': cost(
            ours['extra_megabytes'], theirs['extra_megabytes'], 'MB', 'scikit-learn'
        ),
    }


def draw_points(count: int, channels: int, clusters: int, seed: int = 0) -> np.ndarray:
    """Unit vectors about directions that are the same for all seeds, float32 (count, channels)."""
    centres = np.random.default_rng(0).standard_normal((clusters, channels), dtype=np.float32)
    random = np.random.default_rng((1, seed))
    points = random.standard_normal((count, channels), dtype=np.float32)
    points += centres[random.integers(clusters, size=count)]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def write_embeddings(folder: Path, count: int, channels: int) -> None:
    """`embeddings.npy`, unit rows about some directions, float32 (count, channels)."""
    mapped = np.lib.format.open_memmap(
        folder / 'embeddings.npy', 'w+', np.float32, (count, channels)
    )
    for start in range(0, count, WRITE_ROWS):
        rows = mapped[start : start + WRITE_ROWS]
        rows[:] = draw_points(len(rows), channels, DIRECTIONS, seed=start)


def scikit_learn(points: np.ndarray, clusters: int, iterations: int, restarts: int) -> float:
    """Objective of scikit-learn's k-means with the same work."""
    from sklearn.cluster import KMeans

    found = KMeans(
        clusters,
        init='random',
        n_init=restarts,
        max_iter=iterations,
        tol=0,
        algorithm='lloyd',
        copy_x=False,
        random_state=0,
    ).fit(points)
    return float(found.inertia_)


def measured(work: Callable[[], float]) -> dict[str, float]:
    """Seconds on the clock and of the CPU, peak memory beyond what was there, and the result."""
    before, peak, running = resident_bytes(), [0], threading.Event()

    def watch() -> None:
        while not running.wait(0.05):
            peak[0] = max(peak[0], resident_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    running.set()
    watcher.join()
    return dict(
        seconds=round(seconds, 4),
        cpu_seconds=round(cpu_seconds, 4),
        extra_megabytes=round(max(peak[0] - before, 0) / 2**20, 1),
        result=result,
    )


def resident_bytes() -> int:
    """Resident memory of this process without pages of mapped files (Linux)."""
    _, resident, shared, *_ = map(int, Path('/proc/self/statm').read_text().split())
    return (resident - shared) * os.sysconf('SC_PAGE_SIZE')


if __name__ == '__main__':
    main()
