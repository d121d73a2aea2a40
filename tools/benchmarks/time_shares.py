"""Which parts of a piece of work its CPU time goes to.

    python tools/benchmarks/time_shares.py --out time_shares.json [--steps views evaluation]

runs the alternative of a benchmark and ours on the same generated files, on one thread, and writes
which share of its CPU time either spends in which part. Embeddings and label maps, the pretraining
step and SPO have theirs in benchmarks of their own.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from unittest import mock

Parts = Mapping[str, tuple[object, str]]  # as `watched` takes them
Ways = dict[str, tuple[Callable[[], object], Parts]]


@contextmanager
def watched(parts: Parts) -> Iterator[Counter[str]]:
    """CPU seconds within functions, in whatever threads run them, as long as the context is open.

    Args:
        parts: Names to (class or module, name of the function in it).

    Yields:
        Names to seconds so far, those within inner watched functions included.
    """
    spent: Counter[str] = Counter()
    lock = Lock()

    def timed(name: str, function: Callable) -> Callable:
        def run(*arguments: object, **keywords: object) -> object:
            started = time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                with lock:
                    spent[name] += time.thread_time() - started

        return run

    with ExitStack() as stack:
        for name, (owner, function) in parts.items():
            replacement = timed(name, getattr(owner, function))
            stack.enter_context(mock.patch.object(owner, function, replacement))
        yield spent


def percent(spent: Mapping[str, float], total: float) -> dict[str, float]:
    """Shares of a time in percent, with what is left over.

    Args:
        spent: Names to seconds, none of them within another.
        total: Seconds.
    """
    rest = dict(rest=total - sum(spent.values()))
    return {name: round(100 * s / total, 1) for name, s in (dict(spent) | rest).items()}


def views(folder: Path) -> Ways:
    """Eight views of 40 photographs."""
    from luss_mm.datasets.transforms import LoadBoundedImage, MultiCrop, colour

    from PIL.ImageFile import ImageFile
    from torchvision import transforms
    from views import our_views, torchvision_views, write_images

    theirs = {
        'decoding': (ImageFile, 'load'),
        'crop and resize': (transforms.RandomResizedCrop, 'forward'),
        'colours': (transforms.ColorJitter, 'forward'),
        'blur': (transforms.GaussianBlur, 'forward'),
        'to floats': (transforms.ToTensor, '__call__'),
        'normalise': (transforms.Normalize, 'forward'),
    }
    ours = {
        'decoding': (LoadBoundedImage, 'transform'),
        'crop and resize': (MultiCrop, '_cut_view'),
        'colours': (colour, 'apply_jitter'),
        'blur': (colour, 'blur'),
    }
    paths = write_images(folder, 40)

    def made_by(make: Callable[[str], object]) -> Callable[[], object]:
        make(paths[0])
        return lambda: [make(path) for path in paths]

    return dict(
        alternative=(made_by(torchvision_views()), theirs),
        ours=(made_by(our_views(colours_on_device=False)), ours),
    )


def evaluation(folder: Path) -> Ways:
    """Twelve figures of 40 pairs of label maps, K = 50."""
    from luss_mm.evaluation import score_folders
    from luss_mm.evaluation.segmentation_counts import CountLayout
    from luss_mm.functional import image_tally

    import numpy as np
    import toolbox_loop
    from evaluation import list_pairs, score_ours, write_pair

    theirs = {
        'reading': (toolbox_loop, 'read_ids'),
        'bands': (toolbox_loop, 'class_bands'),
        'areas': (toolbox_loop, 'class_areas'),
        'sizes': (toolbox_loop, 'select_sizes'),
    }
    ours = {
        'reading': (score_folders, 'read_label_map'),
        'bands': (image_tally, 'boundary_mask'),
        'pair counts': (image_tally, 'joint_counts'),
        'entries': (CountLayout, 'entries'),
    }
    random = np.random.default_rng(0)
    match = np.append(0, random.permutation(50) + 1)
    for index in range(40):
        write_pair(folder, index, match, random)
    pairs, _ = list_pairs(folder / 'predictions', folder / 'masks')
    return dict(
        alternative=(
            lambda: toolbox_loop.evaluate_pairs(pairs, dict(enumerate(match)), 50),
            theirs,
        ),
        ours=(lambda: score_ours(folder, match, workers=1), ours),
    )


def kmeans(folder: Path) -> Ways:
    """20 iterations on 64,431 x 512 points, K = 50."""
    from luss_mm.functional import kmeans

    import faiss
    from kmeans import draw_points, scikit_learn
    from sklearn.cluster import _kmeans

    points = draw_points(64_431, 512, 50)
    theirs = {'iterations': (_kmeans, '_kmeans_single_lloyd')}
    ours = {
        'iterations': (faiss.Clustering, 'train'),
        'checks': (kmeans, '_check_embeddings'),
        'assignment': (kmeans, 'assign_to_centroids'),
    }
    return dict(
        alternative=(lambda: scikit_learn(points, 50, 20, 1), theirs),
        ours=(lambda: kmeans.fit_kmeans(points, 50, 20, 1, seed=0), ours),
    )


def listing(folder: Path) -> Ways:
    """The entries of 60,000 images."""
    from luss_mm.datasets import image_index

    from mmseg.datasets import BaseSegDataset
    from scale_steps import list_dicts, list_images, write_images

    write_images(folder / 'train', 60_000)
    theirs = {
        'dicts': (BaseSegDataset, 'load_data_list'),
        'pickling': (BaseSegDataset, '_serialize_data'),
    }
    ours = {'sizes of files': (image_index, 'size_of')}
    return dict(
        alternative=(lambda: list_dicts(folder), theirs), ours=(lambda: list_images(folder), ours)
    )


def shares(work: Callable[[], object], parts: Parts) -> dict[str, float]:
    """Percent of the CPU time of a piece of work."""
    with watched(parts) as spent:
        started = time.process_time()
        work()
        total = time.process_time() - started
    return percent(spent, total)


STEPS = dict(views=views, evaluation=evaluation, kmeans=kmeans, listing=listing)


def main() -> None:
    """Profile, write the JSON file and print it."""
    from luss_mm.work_dir.atomic_files import write_atomically

    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--steps', nargs='+', choices=STEPS, default=list(STEPS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = {}
    for name in arguments.steps:
        with tempfile.TemporaryDirectory() as folder:
            ways = STEPS[name](Path(folder))
            report[name] = {way: shares(*what) for way, what in ways.items()}
        print(name, json.dumps(report[name], indent=1), flush=True)
    write_atomically(arguments.out, json.dumps(report, indent=1).encode())


if __name__ == '__main__':
    main()
