"""The steps that scale.py measures, each in a process of its own."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from luss_mm.datasets import ClassLabelDataset, EpochSampler, LUSSDataset
from luss_mm.pipeline.features import SCORE_BINS, extract_features
from luss_mm.pipeline.generate_labels import label_path
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.work_dir.manifest import artifact_key
from luss_mm.work_dir.run_folder import Clusters, write_clusters
from luss_mm.work_dir.shards import FinishedShards

import numpy as np
from mmseg.datasets import BaseSegDataset
from torch import nn

FOLDERS = 919
CHANNELS = 8  # of stand-ins for features, instead of 512 or 2048
FEATURES, LABELS = 'features', 'labels'
kept: object = None  # a data set, until memory was looked at


def list_dicts(scratch: Path) -> dict[str, float]:
    """What mmseg's own data set does: a dict an image, pickled."""
    global kept
    prefix = dict(img_path=str(scratch / 'train'))
    kept = BaseSegDataset(img_suffix='.JPEG', data_prefix=prefix, pipeline=[])
    return dict(images=len(kept))


def list_images(scratch: Path) -> dict[str, float]:
    """List the images in this process, as without `image_index`."""
    global kept
    kept = plain_dataset(scratch, image_index=None)
    return dict(images=len(kept))


def start(scratch: Path) -> dict[str, float]:
    """List the images, keep the list and take the fingerprint: once a start of a recipe."""
    return open_and_fingerprint(scratch)


def open_and_fingerprint(scratch: Path) -> dict[str, float]:
    """Map the list and take the fingerprint."""
    global kept
    started = time.perf_counter()
    kept = plain_dataset(scratch)
    listed = time.perf_counter()
    kept.fingerprint()
    return dict(
        seconds_to_list=round(listed - started, 3),
        seconds_to_fingerprint=round(time.perf_counter() - listed, 2),
    )


def map_images(scratch: Path) -> dict[str, float]:
    """Only map the list, as every further process, stage and worker does."""
    global kept
    kept = plain_dataset(scratch)
    return dict(images=len(kept))


def draw_epoch(scratch: Path) -> dict[str, float]:
    """Shuffle an epoch and look up its first thousand images."""
    dataset = plain_dataset(scratch)
    started = time.perf_counter()
    sampler = EpochSampler(dataset, shuffle=True, seed=0)
    sampler.set_epoch(3)
    indices = iter(sampler)
    first = [next(indices) for _ in range(1000)]
    entries = [dataset.get_data_info(index) for index in first]
    return dict(seconds_to_draw_1000=round(time.perf_counter() - started, 2), entries=len(entries))


def read_labels(scratch: Path) -> dict[str, float]:
    """The images with small losses, as the second classifier of DFF trains on."""
    global kept
    kept = ClassLabelDataset(
        class_labels=str(scratch / 'labels.npy'),
        losses=str(scratch / 'losses.npy'),
        small_loss=dict(rule='quantile', value=0.6),
        data_root=str(scratch),
        data_prefix=dict(img_path='train'),
        image_index=str(scratch / 'image_index'),
        pipeline=[],
    )
    return dict(kept_images=len(kept), label_of_last=int(kept[len(kept) - 1]['class_label']))


def name_label_maps(scratch: Path) -> dict[str, float]:
    """The data set of fine-tuning, which looks for two images with one label map."""
    prefix = dict(img_path='train', seg_map_path=str(scratch / LABELS))
    return dict(images=len(plain_dataset(scratch, data_prefix=prefix)))


def resume_features(scratch: Path) -> dict[str, float]:
    """Features whose shards are all there: they are checked, joined and described."""
    batches = ShardedBatches(plain_dataset(scratch), batch_size=64)
    key = artifact_key(dict(inputs={}, settings={}, seed=None))
    partial = scratch / f'{FEATURES}.partial-{key}'
    for shard in range(len(batches)):
        start, stop = batches.bounds(shard)
        rows = np.full((stop - start, CHANNELS), shard, np.float32)
        counts = np.ones(SCORE_BINS, np.int64)
        files = [partial / f'shard-{shard:06d}{kind}.npy' for kind in ('', '.counts')]
        np_save(files[0], rows)
        np_save(files[1], counts)
        FinishedShards(partial).add(shard, files)
    seconds = [
        timed(lambda: extract_features(scratch / FEATURES, nn.Identity(), batches, {}, {}))
        for _ in ('unfinished', 'finished')
    ]
    return dict(
        shards=len(batches),
        seconds_to_resume=round(seconds[0], 2),
        seconds_when_finished=round(seconds[1], 2),
    )


def resume_labels(scratch: Path) -> dict[str, float]:
    """Label maps that are all there: the size of each is looked at."""
    batches = ShardedBatches(plain_dataset(scratch), batch_size=64)
    directory = scratch / LABELS
    finished = FinishedShards(directory)
    writing = time.perf_counter()
    for shard in range(len(batches)):
        paths = [label_path(directory, batches.dataset, i) for i in range(*batches.bounds(shard))]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b'')
        finished.add(shard, paths)
    started = time.perf_counter()
    assert all(shard in finished for shard in range(len(batches)))
    checked = time.perf_counter()
    shutil.rmtree(directory)
    return dict(
        seconds_to_write_empty_files=round(started - writing, 1),
        seconds_to_check=round(checked - started, 1),
        seconds_to_delete=round(time.perf_counter() - checked, 1),
    )


STEPS = dict(
    mmseg_list_of_dicts=list_dicts,
    own_list=list_images,
    start_and_fingerprint=start,
    second_process=open_and_fingerprint,
    mapped_list=map_images,
    draw_an_epoch=draw_epoch,
    select_and_read_labels=read_labels,
    name_label_maps=name_label_maps,
    resume_features=resume_features,
    resume_labels=resume_labels,
)


def plain_dataset(scratch: Path, **settings: object) -> LUSSDataset:
    """The images without labels, from the list in the scratch folder."""
    usual = dict(data_prefix=dict(img_path='train'), image_index=str(scratch / 'image_index'))
    return LUSSDataset(data_root=str(scratch), pipeline=[], **usual | settings)


def write_images(folder: Path, count: int) -> int:
    """Files of a few bytes in sub-folders, named like ImageNet's."""
    per_folder = -(-count // FOLDERS)
    for category in range(FOLDERS):
        name = f'n{10_000_000 + 7 * category}'
        (folder / name).mkdir(parents=True)
        for image in range(per_folder):
            (folder / name / f'{name}_{37 * image}.JPEG').write_bytes(b'x' * (image % 50))
    return FOLDERS * per_folder


def write_labels(scratch: Path, count: int) -> None:
    """Class labels and losses of all images, and clusters, without their centroids."""
    random = np.random.default_rng(0)
    labels = random.integers(0, FOLDERS, count, dtype=np.int32)
    losses = random.random(count, dtype=np.float32)
    np.save(scratch / 'labels.npy', labels)
    np.save(scratch / 'losses.npy', losses)
    write_clusters(scratch / 'clusters', Clusters(np.empty((0, 0), np.float32), labels, losses))


def np_save(path: Path, array: np.ndarray) -> None:
    """As `write_array`, but without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def timed(work: Callable[[], object]) -> float:
    """Seconds on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
