"""Trials before a run: made-up batches of a stage, and the extreme images of each data set.

One dry pass takes these through every transform of every stage. The images that a step cannot take
are rare ones, a panorama among photographs, say. Without the pass they would stop a run in the
stage that first makes a batch of them.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.dist import get_world_size
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import FUNCTIONS, DefaultScope
from mmseg.models import EncoderDecoder
from mmseg.registry import DATASETS, MODELS
from torch import nn

from luss_mm.datasets import SeededDataset
from luss_mm.datasets.image_file import ImageFileError, read_image_size
from luss_mm.datasets.samplers import sample_randomness
from luss_mm.datasets.transforms.resizing import short_side_size
from luss_mm.recipes.config_check import TRIAL_SIDE, typed_blocks
from luss_mm.recipes.data_check import LOADERS, fitting_batch, is_yet_to_come, name_setting
from luss_mm.recipes.dataset_facts import dataset_parts, without_class_labels, without_loading
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError, first_line
from luss_mm.work_dir.artifact import decide_on_main

MOST_SIZES = 20_000  # images whose size is read, evenly spread over larger sets: some seconds
IRRELEVANT = {'categories', 'ignore_index', 'seed', 'test_mode'}  # to sizes and paths
THREADS = 16  # they wait for the disk most of the time


def check_extremes(recipe: Recipe, names: Sequence[str]) -> None:
    """Refuse stages that cannot take the widest, tallest and smallest image of their data sets.

    Each goes through the transforms of the stage's data sets and of those of its hooks; those of
    the training set then form a batch. Label maps that the run has yet to make are zeros.
    Collective, rank 0 looks.

    Args:
        recipe: Passed `check_images_of`, which has named what cannot be read.
        names: Stages with a training, whose images are there.

    Raises:
        SettingsError: On all ranks, naming the stage, the image and the reason.
    """

    def find() -> str | None:
        try:
            return _find_mistake(recipe, names)
        except (KeyError, OSError, TypeError, ValueError) as error:  # of odd data sets
            return first_line(error)

    if mistake := decide_on_main(find):
        raise SettingsError(mistake)


def extreme_images(
    dataset: SeededDataset, sizes: dict[str, tuple[int, int] | None] | None = None
) -> list[int]:
    """Positions of the widest, the tallest and the smallest image, each once.

    Args:
        dataset: At most MOST_SIZES of its images are looked at.
        sizes: Height and width of files that other data sets share; those of this one are added.
    """
    positions = np.unique(np.linspace(0, len(dataset) - 1, MOST_SIZES).round().astype(int))
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(
            partial(_size, dataset, {} if sizes is None else sizes), positions.tolist()
        )
        sizes = [(*size, p) for p, size in zip(positions.tolist(), found, strict=True) if size]
    if not sizes:
        return []
    widest = max(sizes, key=lambda size: size[1] / size[0])
    tallest = max(sizes, key=lambda size: size[0] / size[1])
    smallest = min(sizes, key=lambda size: min(size[:2]))
    return list(dict.fromkeys(size[2] for size in (widest, tallest, smallest)))


def _size(
    dataset: SeededDataset, sizes: dict[str, tuple[int, int] | None], index: int
) -> tuple[int, int] | None:
    path = dataset.get_data_info(index)['img_path']
    if path not in sizes:
        try:
            sizes[path] = read_image_size(path)
        except (ImageFileError, OSError):
            sizes[path] = None  # the check of all images has named it
    return sizes[path]


def _find_mistake(recipe: Recipe, names: Sequence[str]) -> str | None:
    known = KnownImages()
    for name in names:
        stage = recipe.stage(name, '<stage_dir>')
        with (
            DefaultScope.overwrite_default_scope(stage.get('default_scope', 'mmseg')),
            sample_randomness(0, 0, 0),
        ):
            for where, dataset, loader in _datasets(stage):
                if is_yet_to_come(recipe, names, without_loading(dataset, recipe.work_dir)):
                    continue
                found = _extreme_entries(recipe, dataset, known)
                preprocessor = loader and stage['model'].get('data_preprocessor')
                if mistake := _try_transforms(dataset, found, loader, preprocessor):
                    return f'stages.{name}.{where}: {mistake}'
            loader = stage['train_dataloader']
            if not is_yet_to_come(recipe, names, loader['dataset']):
                loader['batch_size'] = fitting_batch(recipe, loader)
            if mistake := _find_mistake_of_single(stage):
                setting = name_setting(recipe, name, 'train_dataloader', 'batch_size')
                return f'stages.{name}: {mistake}. Set a larger {setting}.'
    return None


def _datasets(stage: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping | None]]:
    """Place and config of each data set, with its data loader where it alone makes the batches."""
    for key in LOADERS:
        if not stage.get(key):
            continue
        parts = list(dataset_parts(stage[key]['dataset']))
        for part in parts:
            yield key, part, stage[key] if len(parts) == 1 else None
    for _, block in typed_blocks(stage.get('custom_hooks') or ()):
        # Masks may be there for a rule that is not chosen: they need not exist.
        if 'pipeline' in block and not (block.get('data_prefix') or {}).get('seg_map_path'):
            yield 'custom_hooks', block, None


@dataclass(frozen=True)
class KnownImages:
    """What was read for earlier data sets, most of which share their images.

    Attributes:
        entries: Entries of the extreme images, by the config of the data set.
        sizes: Height and width of files; None of those that cannot be read.
    """

    entries: dict[str, list[dict]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int] | None] = field(default_factory=dict)


def _extreme_entries(recipe: Recipe, dataset: Mapping[str, Any], known: KnownImages) -> list[dict]:
    """What the transforms are given of the extreme images; none of data sets that are not ours."""
    config = without_loading(dataset, recipe.work_dir)
    if config.get('tags') != dataset.get('tags'):
        return []  # tags that the run has yet to make may be needed
    config = without_class_labels(config)  # any number will do
    kind = DATASETS.get(config['type'])
    if not (isinstance(kind, type) and issubclass(kind, SeededDataset)):
        return []
    key = json.dumps({k: v for k, v in config.items() if k not in IRRELEVANT}, sort_keys=True)
    if key not in known.entries:
        images = DATASETS.build(config)
        known.entries[key] = [
            images.get_data_info(index) | dict(class_label=0)
            for index in extreme_images(images, known.sizes)
        ]
    return known.entries[key]


def _try_transforms(
    dataset: Mapping[str, Any],
    entries: Iterable[dict],
    loader: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None,
) -> str | None:
    samples = []
    for entry in entries:
        height, width = read_image_size(entry['img_path'])
        steps = [_stand_in(t, entry, (height, width)) for t in dataset.get('pipeline', ())]
        try:
            samples.append(Compose(steps)(dict(entry)))
        except Exception as error:  # of any transform: the cause is kept
            return f'{entry["img_path"]} ({width} x {height} pixels): {first_line(error)}'
    if loader is None or not samples or not loader.get('drop_last'):
        return None
    try:
        batch = collate(loader, samples)
        if preprocessor is not None:
            MODELS.build(dict(preprocessor))(batch, True)
    except Exception as error:
        images = ', '.join(entry['img_path'] for entry in entries)
        return f'{images} do not fit into one batch: {first_line(error)}'
    return None


def _stand_in(transform: Mapping[str, Any], entry: dict, size: tuple[int, int]) -> Any:
    """A transform, or what takes its place where it reads what the run has yet to make."""
    if transform['type'] == 'LoadCachedMaps':
        return lambda results: results | dict(ori_shape=size) | made_up_maps(transform, size)
    if 'LabelMap' in transform['type'] and entry.get('seg_map_path') is None:
        return made_up_labels
    return transform


def _find_mistake_of_single(stage: Mapping[str, Any]) -> str | None:
    """Normalisation over a batch of one image fails where a head pools the image to one value."""
    loader, epochs = stage['train_dataloader'], (stage.get('train_cfg') or {}).get('max_epochs')
    if loader.get('batch_size') != 1 or get_world_size() > 1 or epochs == 0:
        return None
    model = build_model(stage['model'], 'cpu')
    if not isinstance(model, EncoderDecoder):
        return None
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, TRIAL_SIDE, TRIAL_SIDE), mode='tensor')
    except ValueError as error:
        if 'more than 1 value per channel' in str(error):
            return (
                'batches of one image on one process are too small for the batch normalisation '
                f'({first_line(error)})'
            )
    return None


@dataclass(frozen=True)
class MadeUpSamples:
    """Samples of made-up images, of each part that a batch consists of.

    Attributes:
        parts: Of each part a few samples and how many of a batch are of it.
        loading: Seconds of one core to transform an image; reading the file is not in it.
    """

    parts: Sequence[tuple[Sequence[Any], int]]
    loading: float

    @property
    def few(self) -> list[Any]:
        """All samples."""
        return [sample for samples, _ in self.parts for sample in samples]

    @property
    def batch(self) -> list[Any]:
        """As many as a batch has."""
        return [part[i % len(part)] for part, number in self.parts for i in range(number)]


def draw_made_up_samples(
    loader: Mapping[str, Any], count: int, image_size: tuple[int, int]
) -> MadeUpSamples:
    """Samples of a data loader's transforms.

    Args:
        loader: Config.
        count: Samples of each part. The quickest is timed, so two or more tell more than one.
        image_size: Height and width of an image file.

    Raises:
        ValueError: If the data set wraps others, `SemiDataset` apart.
    """
    parts = [
        (*_transformed(pipeline, count, image_size), number)
        for pipeline, number in _parts_of_batch(loader)
    ]
    total = sum(number for *_, number in parts)
    return MadeUpSamples(
        [(samples, number) for samples, _, number in parts],
        sum(seconds * number for _, seconds, number in parts) / total,
    )


def _parts_of_batch(loader: Mapping[str, Any]) -> list[tuple[Sequence[Mapping[str, Any]], int]]:
    """Pipelines and how many samples of a batch go through each."""
    dataset, sampler = loader['dataset'], loader.get('sampler')
    if dataset.get('type') != 'SemiDataset':
        if 'pipeline' not in dataset:
            raise ValueError(f'{dataset["type"]} has no pipeline of its own to try')
        return [(dataset['pipeline'], loader['batch_size'])]
    unlabelled = dataset['unlabelled']['pipeline'], sampler['unlabelled']
    labelled = dataset['labelled']['pipeline'], sampler['labelled']
    return [labelled, *[unlabelled] * (1 + sampler.get('partners', False))]


def _transformed(
    pipeline: Sequence[Mapping[str, Any]], count: int, image_size: tuple[int, int]
) -> tuple[list[Any], float]:
    """Samples, and seconds of the quickest."""
    steps = [made_up_labels if 'LabelMap' in t['type'] else t for t in pipeline]
    transforms = Compose([s for s in steps if callable(s) or not s['type'].startswith('Load')])
    by_type = {t['type']: t for t in pipeline}
    samples, seconds = [], []
    for index in range(count):
        image = made_up_image(index, image_size)
        if 'LoadCachedMaps' in by_type:
            image |= made_up_maps(by_type['LoadCachedMaps'], image_size)
        started = time.process_time()
        samples.append(transforms(image))
        seconds.append(time.process_time() - started)
    return samples, min(seconds)  # the first one also sets things up


def made_up_image(index: int, size: tuple[int, int]) -> dict[str, Any]:
    """What the loading transforms would say of an image file of noise."""
    image = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
    return dict(
        img=image,
        img_shape=size,
        ori_shape=size,
        img_path='made-up.JPEG',
        sample_idx=index,
        class_label=0,
        image_tags=(0,),
        seg_fields=[],
    )


def made_up_labels(results: dict[str, Any]) -> dict[str, Any]:
    """What loading a label map would add to an image."""
    labels = np.zeros(results['img_shape'], dtype=np.int32)
    loaded = dict(gt_seg_map=labels, seg_fields=['gt_seg_map'], seg_map_path='made-up.png')
    return results | loaded


def made_up_maps(loading: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """What `LoadCachedMaps` would say of an image file, with maps of zeros.

    Args:
        loading: Config of the transform.
        size: Height and width of the file.
    """
    width, height = short_side_size(size[1], size[0], loading['side'])
    shapes = [
        (channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(loading['channels'], loading['strides'], strict=True)
    ]
    maps = [np.zeros(shape, dtype=np.float16) for shape in shapes]
    return dict(maps=maps, img_shape=(height, width))


def collate(loader: Mapping[str, Any], samples: Sequence[Any]) -> Any:
    """A batch, as the stage's data loader makes it."""
    kind = (loader.get('collate_fn') or dict(type='pseudo_collate'))['type']
    return FUNCTIONS.get(kind)(samples)


def build_model(config: Mapping[str, Any], device: str) -> nn.Module:
    """A model in training mode, with batch norm that does not wait for other ranks."""
    return revert_sync_batchnorm(MODELS.build(dict(config))).to(device).train()
