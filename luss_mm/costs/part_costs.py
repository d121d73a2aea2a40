"""What the parts of a run cost: its images, its trainings, and the steps of their hooks."""

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS
from torch import nn

from luss_mm.costs.machine import Machine
from luss_mm.costs.trial_step import Trial, seconds_of, try_pass, try_training
from luss_mm.datasets.image_file import ImageFileError, read_image_size
from luss_mm.datasets.image_walk import walk_images
from luss_mm.datasets.samplers import sample_randomness
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.inference.feature_source import FeatureSource
from luss_mm.inference.steps import ClustersStep, DenoisedStep, LabelsStep, ScoresStep
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.models.segmenters.sam_segmenter import SAMSizes, build_sam, resolve_sizes
from luss_mm.pipeline.step import steps_of
from luss_mm.recipes.dataset_facts import without_class_labels, without_loading
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError

NUMBER = 4  # bytes of float32
PROCESS = 1_000_000_000  # bytes of a process that has imported the package, measured
WORKER = 250_000_000  # bytes of a loading process and its waiting batches, roughly
INDEX = 50  # bytes of an image in the list of images
STARTING = 3.0  # seconds to set up a stage and save its results, measured for small ones
DECODING = 1.5e-8  # seconds of one core to read and decode a pixel of a JPEG
LABEL_MAP_BYTES = 8192  # of a PNG: two blocks of a disk; 4 kB and less for 160 x 240 pixels
LABEL_SECONDS = 0.005  # of one core: resizing and compressing a label map
GRABCUT_SECONDS = 0.025  # of one core; .01 to .05 in runs, see docs/cost.md
DECODER = 1.035  # SAM with its decoder to its encoder alone, measured: docs/performance.md
LOOKED_AT = 16  # images whose size is read
SELECTED = 0.6  # share of the images whose loss counts as small; .45 to .75 in runs here
PHOTOGRAPH = (375, 500)  # height and width of a usual image of ImageNet
TRIAL_POINTS, TRIAL_ITERATIONS = 5000, (2, 12)  # of a k-means that is timed


@dataclass(frozen=True)
class Cost:
    """Cost of one part of a run, on each process.

    Attributes:
        name: Name of the part, which is the folder below the work directory that it makes.
        images: It works on.
        iterations: In all.
        seconds: In all.
        memory: Bytes of main memory at once, all loading processes together.
        gpu_memory: Bytes on the GPU; 0 without one.
        disk: Bytes that stay.
        lower: Setting that lowers its memory.
        stage: Stage of the recipe, which the part belongs to.
    """

    name: str
    images: int
    iterations: int
    seconds: float
    memory: int
    gpu_memory: int
    disk: int
    lower: str
    stage: str = ''


class RecipeImages:
    """Numbers and sizes of the images of a recipe; not collective, one rank may look.

    Args:
        recipe: Whose data sets they are.
        images: Number of images of every training folder, none being scored; None looks.

    Attributes:
        size: Height and width as loaded: the median of a few files, or a usual photograph's.
    """

    def __init__(self, recipe: Recipe, images: int | None = None) -> None:
        self._recipe = recipe
        self._images = images
        self._counts: dict[str, int] = {}
        values = recipe.settings.values
        folder = Path(recipe.settings.resolve(values.get('data_root', '')))
        size = PHOTOGRAPH if images else _usual_size(folder / values.get('train_split', ''))
        factor = min(1.0, (values.get('max_side') or max(size)) / max(size))
        self.size = tuple(max(1, round(factor * side)) for side in size)

    def count(self, dataset: Mapping[str, Any], scored: bool = False) -> int:
        """Images that a stage trains on, or is scored on.

        Raises:
            SettingsError: If they cannot be counted.
        """
        share = 1.0
        if (rule := dataset.get('small_loss')) is not None:
            share = rule['value'] if rule.get('rule') == 'quantile' else SELECTED
        if self._images is not None:
            folders = (dataset.get('data_prefix') or {}).get('img_path', 'train')
            number = 1 if isinstance(folders, str) else len(folders)
            return 0 if scored else round(share * self._images * number)
        config = without_class_labels(without_loading(dataset, self._recipe.work_dir))
        key = json.dumps(config, sort_keys=True, default=str)
        if key not in self._counts:
            try:
                with DefaultScope.overwrite_default_scope('mmseg'):
                    self._counts[key] = len(DATASETS.build(config))
            except (KeyError, OSError, TypeError, ValueError) as error:
                raise SettingsError(str(error)) from error
        return round(share * self._counts[key])


def _usual_size(folder: Path) -> tuple[int, int]:
    sizes = []
    for relative in islice(walk_images(folder), LOOKED_AT) if folder.is_dir() else ():
        try:
            sizes.append(read_image_size(folder / relative))
        except (ImageFileError, OSError):
            continue  # the check of all images names it
    return tuple(round(statistics.median(s)) for s in zip(*sizes, strict=True)) or PHOTOGRAPH


@dataclass
class PartCosts:
    """Costs of the parts of a recipe, each output once.

    Attributes:
        recipe: Already checked.
        facts: Facts of the images.
        machine: Where the run will be.
        processes: Number of processes of the run.
        whole: Time every step with its whole batch, however long that takes.
    """

    recipe: Recipe
    facts: RecipeImages
    machine: Machine
    processes: int = 1
    whole: bool = False
    _done: set[Path] = field(default_factory=set)

    def of_stage(self, name: str, stage: Mapping[str, Any]) -> Iterator[Cost]:
        """Steps before a training, the training and steps after it, in their order."""
        steps = steps_of(stage)
        for step in steps:
            yield from self._before(step)
        if stage['train_cfg'].get('max_epochs') != 0:
            yield self._training(name, stage)
        for step in steps:
            if isinstance(step, ScoresStep):
                loader = dict(dataset=step.dataset, **step.batching)
                trial = self._try(loader, _build(stage['model']))
                if step.rule.flip_average:
                    trial = replace(trial, seconds=2 * trial.seconds)
                yield self._pass(f'{name}/image_scores', trial, loader, 8)

    def _training(self, name: str, stage: Mapping[str, Any]) -> Cost:
        """With its validation, whose forward pass is a third of a step."""
        loader, val_loader = stage['train_dataloader'], stage.get('val_dataloader')
        trial = try_training(stage, self.facts.size, self.machine.device, self.whole)
        scored = self.facts.count(val_loader['dataset'], scored=True) if val_loader else 0
        forward = trial.seconds / loader['batch_size'] / 3 + trial.loading + self._decoding()
        kept = stage['default_hooks']['checkpoint'].get('max_keep_ckpts', 1)
        lower = 'finetune_batch_size' if name == 'finetune' else 'batch_size'
        disk = kept * trial.checkpoint + trial.weights
        cost = self._cost(name, trial, loader, self._iterations(stage), disk, lower)
        return replace(cost, seconds=cost.seconds + STARTING + scored / self.processes * forward)

    def _iterations(self, stage: Mapping[str, Any]) -> int:
        loop, loader = stage['train_cfg'], stage['train_dataloader']
        if not loop.get('by_epoch', 'max_epochs' in loop):
            return loop['max_iters']
        dataset = loader['dataset']
        if dataset['type'] == 'SemiDataset':
            sampler, parts = loader['sampler'], ['unlabelled']
            if dataset.get('revisit_labelled'):
                parts.append('labelled')
            images = sum(self.facts.count(dataset[part]) for part in parts)
            each_pass = math.ceil(images / (sampler['unlabelled'] * self.processes))
            return loop['max_epochs'] * (sampler.get('epoch_iterations') or each_pass)
        rounding = math.floor if loader.get('drop_last') else math.ceil
        share = math.ceil(self.facts.count(loader['dataset']) / self.processes)
        return loop['max_epochs'] * max(rounding(share / loader['batch_size']), 1)

    def _before(self, step: Any) -> Iterator[Cost]:
        """A step before a training, unless another stage makes its output; most cost little."""
        kind, output = getattr(step, 'name', ''), getattr(step, 'makes', None)
        if output in self._done:
            return
        self._done.add(output)
        if kind == 'maps':
            loader = _loader_of(step.source) | dict(maps=None)  # they are to be made
            trial = self._try(loader, self._network_of(step.source))
            size = sum(trial.map_bytes[level] for level in step.source.map_outputs)
            yield self._pass(output.name, trial, loader, size)
        elif kind == 'features':
            loader = _loader_of(step.source)
            trial = self._try(loader, self._network_of(step.source))
            yield self._pass(output.name, trial, loader, NUMBER * self._channels_of(step.source))
        elif kind in ('clusters', 'denoised'):
            rules = getattr(step, 'rules', {})
            images = self.facts.count(step.source.dataset)
            yield self._kmeans(step, round(images * (rules.get('keep_fraction') or 1.0)))
        elif kind == 'labels':
            yield self._labels(step)

    def _kmeans(self, step: ClustersStep | DenoisedStep, images: int) -> Cost:
        channels, clusters = self._channels_of(step.source), step.num_clusters
        passes = step.kmeans.restarts * (step.kmeans.iterations + 1)
        centroids = clusters * channels * NUMBER
        seconds = passes * images * kmeans_seconds(channels, clusters, self.machine.device)
        main = PROCESS + 3 * centroids  # rows are mapped from the disk
        on_gpu = centroids + 10**9 if self.machine.gpu_memory else 0
        disk = centroids + 12 * images
        name = step.makes.name
        return Cost(name, images, passes, seconds, main, on_gpu, disk, 'num_categories')

    def _labels(self, step: LabelsStep) -> Cost:
        loader = _loader_of(step.source) | dict(dataset=step.dataset)
        trial, on_core = self._try(loader, self._network_of(step.source)), LABEL_SECONDS
        segmenter = step.transform.get('segmenter')
        if segmenter is not None and segmenter['type'] == 'SAMSegmenter':
            sizes = resolve_sizes(segmenter.get('model_type', 'vit_b'))
            precision = segmenter.get('encoder_dtype', 'float32')
            encoder = sam_seconds(sizes, precision, self.machine.device)
            seconds = trial.seconds + DECODER * encoder * loader['batch_size']
            trial = replace(trial, seconds=seconds)
        elif segmenter is not None:
            on_core += GRABCUT_SECONDS
        return self._pass(step.makes.name, trial, loader, LABEL_MAP_BYTES, on_core)

    def _pass(self, name: str, trial: Trial, source: dict, size: int, on_core: float = 0.0) -> Cost:
        """A network over all images; of each, bytes on the disk and seconds of a core after it."""
        images = self.facts.count(source['dataset'])
        share = images / self.processes
        steps = math.ceil(share / source['batch_size'])
        cost = self._cost(name, trial, source, steps, images * size, 'label_batch_size')
        return replace(cost, seconds=cost.seconds + share * on_core)

    def _cost(self, name: str, trial: Trial, loader: dict, steps: int, disk: int, lower: str):
        machine, images = self.machine, self.facts.count(loader['dataset'])
        workers = loader.get('num_workers', 0)
        loading = loader['batch_size'] * (trial.loading + self._decoding())
        busy = 0 if machine.gpu_memory else machine.threads * trial.seconds
        together = max(trial.seconds, loading / max(workers, 1), (busy + loading) / machine.cores)
        seconds = steps * (together if workers else trial.seconds + loading)
        main, network = PROCESS + workers * WORKER + INDEX * images, trial.memory
        memory = (main, network) if machine.gpu_memory else (main + network, 0)
        return Cost(name, images, steps, seconds, *memory, disk, lower)

    def _decoding(self) -> float:
        """Seconds of one core to read and decode an image file."""
        return DECODING * math.prod(self.facts.size)

    def _try(self, loader: Mapping[str, Any], network: nn.Module) -> Trial:
        return try_pass(network, loader, self.facts.size, self.machine.device, self.whole)

    def _network_of(self, source: FeatureSource) -> AttendedInference:
        """What a source embeds with, with random weights."""
        return AttendedInference(_build(self._model_of(source)), source.precision)

    def _channels_of(self, source: FeatureSource) -> int:
        return self._model_of(source)['channels']

    def _model_of(self, source: FeatureSource) -> Mapping[str, Any]:
        """Config of the network whose stage a source names."""
        return self.recipe.stage(Path(source.config).parent.name, '<stage_dir>')['model']


def _loader_of(source: FeatureSource) -> dict[str, Any]:
    """The images of a source as it loads them."""
    names = ('dataset', 'batch_size', 'num_workers', 'maps')
    return {name: getattr(source, name) for name in names}


def _build(config: Mapping[str, Any]) -> nn.Module:
    with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
        return MODELS.build(dict(config)).eval()


@cache
def kmeans_seconds(channels: int, clusters: int, device: str) -> float:
    """Seconds of one pass of k-means over one point: what more passes of a small one take."""
    points = max(TRIAL_POINTS, clusters)
    embeddings = np.random.default_rng(0).random((points, channels), dtype=np.float32)
    few, more = (
        seconds_of(partial(fit_kmeans, embeddings, clusters, iterations, 1), device)
        for iterations in TRIAL_ITERATIONS
    )
    return max(more - few, 1e-6) / points / (TRIAL_ITERATIONS[1] - TRIAL_ITERATIONS[0])


@cache
def sam_seconds(sizes: SAMSizes, precision: str, device: str) -> float:
    """Seconds of SAM's image encoder for an image.

    Its blocks come in groups that are alike, each with one block without windows: one is timed.
    """
    groups = max(len(sizes.global_attention), 1)
    depth = sizes.encoder_depth // groups
    group = replace(sizes, encoder_depth=depth, global_attention=(depth - 1,))
    encoder = build_sam(group).image_encoder.to(device).eval()
    images = torch.zeros(1, 3, sizes.image_size, sizes.image_size, device=device)
    lower = precision != 'float32'
    with (
        torch.inference_mode(),
        torch.autocast(device, dtype=getattr(torch, precision), enabled=lower),
    ):
        return groups * seconds_of(lambda: encoder(images), device)
