"""Memory of every step that sees all images, at growing numbers of images: does it stay flat?

    python tools/benchmarks/memory.py --out memory.json [--plot docs/pictures/memory.png]

Each step runs in its own process at each size, on generated files. The figure is the largest
private memory of that process and its loading processes (Pss_Anon of /proc, Linux) beyond what was
there after the imports; pages of memory-mapped embeddings are files and not part of it. It is
looked at every 30 ms; where no large file is mapped, the kernel's own peak counts, too. The
metric and the tool score label maps of 96 x 128 pixels, k-means and denoising read embeddings of
512 channels, the loaders draw eight batches of 16 images of `configs/luss/pass_s50.py` with two
workers; features, label maps, SPO and inference run a small network over JPEGs of 256 x 320.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from luss_mm.work_dir.atomic_files import write_atomically

import numpy as np
from comparison import cost
from generated_files import write_embeddings, write_label_maps, write_photographs
from network_steps import embed, infer, label, refine

RECIPE = Path(__file__).parents[2] / 'configs' / 'luss' / 'pass_s50.py'
CLUSTERS = 50
POLL_SECONDS = 0.03


class Step(NamedTuple):
    """What is measured.

    Attributes:
        sizes: Numbers of images.
        quick: The same of `--quick`.
        prepare: Makes the files of a size in a folder; what is there already stays.
        work: Returns what is measured, ready to be called, after its imports.
        maps_files: Whether it maps large files, whose pages the kernel's peak holds, too.
    """

    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    prepare: Callable[[Path, int], None]
    work: Callable[[Path, int], Callable[[], object]]
    maps_files: bool = False


def main() -> None:
    """Measure, write the JSON file and the plot, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--plot', type=Path, help='PNG of all curves')
    parser.add_argument('--steps', nargs='+', choices=STEPS, default=list(STEPS))
    parser.add_argument('--quick', action='store_true', help='tiny sizes')
    parser.add_argument('--work', nargs=3, help='used by this program itself')
    arguments = parser.parse_args()
    if arguments.work:
        name, folder, size = arguments.work
        work = STEPS[name].work(Path(folder), int(size))
        print('ready', flush=True)
        sys.stdin.readline()
        Path('/proc/self/clear_refs').write_text('5')  # the kernel's peak starts again
        work()
        print(f'\n{own_peak_megabytes()}')
        return
    curves = {name: measure(name, arguments.quick) for name in arguments.steps}
    report = dict(cores=os.cpu_count(), steps=curves, comparisons=describe(curves))
    text = json.dumps(report, indent=1)
    write_atomically(arguments.out, text.encode())
    if arguments.plot:
        draw(curves, arguments.plot)
    print(text)


def measure(name: str, quick: bool) -> dict[str, object]:
    """Megabytes of a step at all sizes, and how many bytes an image adds."""
    step = STEPS[name]
    sizes, megabytes, seconds = step.quick if quick else step.sizes, [], []
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            step.prepare(Path(scratch), size)
            started = time.perf_counter()
            megabytes.append(round(run_step(name, scratch, size), 1))
            seconds.append(round(time.perf_counter() - started, 1))
            print(f'{name}, {size:,} images: {megabytes[-1]} MB', file=sys.stderr, flush=True)
    slope = (megabytes[-1] - megabytes[0]) * 2**20 / (sizes[-1] - sizes[0])
    return dict(images=sizes, megabytes=megabytes, seconds=seconds, bytes_an_image=round(slope, 1))


def run_step(name: str, scratch: str, size: int) -> float:
    """Peak of a step's process beyond its imports, watched from here."""
    command = [sys.executable, __file__, '--out', os.devnull, '--work', name, scratch, str(size)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as process:
        while (line := process.stdout.readline()) != 'ready\n':
            if not line:
                raise SystemExit(f'{name}: its process ended early, see above')
        before = peak = private_megabytes(process.pid)
        process.stdin.write('go\n')
        process.stdin.close()
        while process.poll() is None:
            peak = max(peak, private_megabytes(process.pid))
            time.sleep(POLL_SECONDS)
        printed = process.stdout.read()
    if process.returncode:
        raise SystemExit(f'{name}: its process failed, see above')
    if not STEPS[name].maps_files:
        peak = max(peak, float(printed.split()[-1]))
    return peak - before


def own_peak_megabytes() -> float:
    """The kernel's peak of this process, less the pages of files that it maps now."""
    fields = dict(line.split(':', 1) for line in open('/proc/self/status'))
    peak, files = (int(fields[name].split()[0]) for name in ('VmHWM', 'RssFile'))
    return (peak - files) / 1024


def private_megabytes(process: int) -> float:
    """Private memory of a process and all below it; shared pages count in parts."""
    total = 0.0
    try:
        text = Path(f'/proc/{process}/smaps_rollup').read_text()
        total = int(text.split('Pss_Anon:')[1].split()[0]) / 1024
        tasks = Path(f'/proc/{process}/task').iterdir()
        children = [(task / 'children').read_text().split() for task in tasks]
    except (OSError, IndexError):  # it has just ended
        return total
    return total + sum(private_megabytes(int(child)) for below in children for child in below)


def score(num_categories: int, folder: Path, size: int) -> Callable[[], object]:
    """`UnsupervisedIoUMetric` as a Runner calls it."""
    from luss_mm.datasets.mask_files import read_label_map
    from luss_mm.evaluation.unsupervised_iou import UnsupervisedIoUMetric

    import torch

    predictions, masks = (
        [torch.from_numpy(read_label_map(path))[None] for path in sorted(paths)]
        for paths in ((folder / kind / 'n0000').glob('*') for kind in ('predictions', 'masks'))
    )

    def work() -> None:
        metric = UnsupervisedIoUMetric(num_categories, num_categories)
        for index in range(size):
            predicted, truth = (maps[index % len(maps)] for maps in (predictions, masks))
            sample = dict(pred_sem_seg=dict(data=predicted), gt_sem_seg=dict(data=truth))
            metric.process(None, [sample | dict(img_path=str(index))])
        metric.evaluate(size)

    return work


def evaluate(num_categories: int, folder: Path, size: int) -> Callable[[], object]:
    """What `tools/evaluate.py --workers 1` does."""
    from luss_mm.evaluation.cluster_matching import MatchingByRule
    from luss_mm.evaluation.label_map_pairs import list_pairs
    from luss_mm.evaluation.score_folders import FolderCounter, count_folders
    from luss_mm.evaluation.score_report import official_figures

    def work() -> None:
        matching = MatchingByRule('image_hungarian', num_categories, num_categories)
        pairs, _ = list_pairs(folder / 'predictions', folder / 'masks')
        assert len(pairs) == size
        counter = FolderCounter(num_categories, num_categories, matching)
        counts, _ = count_folders(counter, pairs, workers=1)
        official_figures(matching.scores(counts))

    return work


def cluster(folder: Path, size: int) -> Callable[[], object]:
    """k-means as `ClusterHook` calls it, with fewer iterations."""
    from luss_mm.functional.kmeans import fit_kmeans

    embeddings = np.load(folder / 'embeddings.npy', mmap_mode='r')
    return lambda: fit_kmeans(embeddings, CLUSTERS, iterations=2, restarts=1)


def denoise(folder: Path, size: int) -> Callable[[], object]:
    """CSD as `CSDHook` calls it, with fewer iterations."""
    from luss_mm.pipeline.clusters import DenoisingRules, KMeans, denoise_clusters
    from luss_mm.work_dir.run_folder import Clusters

    embeddings = np.load(folder / 'embeddings.npy', mmap_mode='r')
    clusters = Clusters(np.array(embeddings[:CLUSTERS]), None, None)
    rules = DenoisingRules('margin', 0.665, None, 2.0, 0.5)
    kmeans = KMeans(iterations=2, restarts=1)
    target = folder / f'denoised_{size}'
    return lambda: denoise_clusters(target, embeddings, clusters, rules, CLUSTERS, {}, kmeans)


def load(stage: str, folder: Path, size: int) -> Callable[[], object]:
    """Eight batches of a stage's loader."""
    import luss_mm  # noqa: F401  registers everything
    from luss_mm.recipes.recipe import Recipe

    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    config = Config.fromfile(RECIPE)
    config.merge_from_dict(dict(data_root=str(folder), work_dir=str(folder / 'work')))
    loader = Recipe(config).stage(stage, str(folder / 'work'))['train_dataloader']
    loader |= dict(batch_size=16, num_workers=2)

    def work() -> None:
        with DefaultScope.overwrite_default_scope('mmseg'):
            batches = Runner.build_dataloader(loader, seed=0)
            assert len(batches.dataset) == size
            for _, _ in zip(batches, range(8), strict=False):
                pass

    return work


STEPS = {
    f'{name}, K = {k}': Step(
        (200, 800, 3200, 12_800), (20, 40), partial(write_label_maps, k), partial(work, k)
    )
    for name, work in (('metric', score), ('evaluate.py', evaluate))
    for k in (50, 919)
} | {
    'k-means, K = 50': Step(
        (16_000, 64_000, 256_000), (500, 1000), write_embeddings, cluster, maps_files=True
    ),
    'denoising (CSD), K = 50': Step(
        (16_000, 64_000, 256_000), (500, 1000), write_embeddings, denoise, maps_files=True
    ),
    'pretraining loader': Step(
        (1000, 10_000, 100_000), (40, 80), write_photographs, partial(load, 'pretrain')
    ),
    'attention loader': Step(
        (1000, 10_000, 100_000), (40, 80), write_photographs, partial(load, 'attention')
    ),
    'features': Step((200, 800, 3200), (20, 40), write_photographs, embed),
    'label maps': Step((200, 800, 3200), (20, 40), write_photographs, label),
    'SPO, GrabCut': Step((200, 800, 3200), (20, 40), write_photographs, refine),
    'inference': Step((200, 800, 3200), (20, 40), write_photographs, infer),
}


def describe(curves: dict[str, dict]) -> dict[str, dict]:
    """See `comparison.py`: the most images against the fewest."""
    return {
        f'memory of {name} at {found["images"][-1]:,} images': cost(
            found['megabytes'][-1],
            found['megabytes'][0],
            'MB',
            f'the same at {found["images"][0]:,}',
        )
        for name, found in curves.items()
    }


def draw(curves: dict[str, dict], path: Path) -> None:
    """Megabytes over images, a curve a step."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), dpi=90, layout='constrained')
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps['tab20'].colors)
    for name, found in curves.items():
        label = f'{name} ({found["bytes_an_image"]:+,.0f} bytes an image)'
        axes.plot(found['images'], found['megabytes'], marker='o', label=label)
    axes.set(xscale='log', xlabel='images', ylabel='MB beyond the imports')
    axes.set_ylim(bottom=0)
    figure.legend(loc='outside lower center', ncols=2, fontsize='small')
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == '__main__':
    main()
