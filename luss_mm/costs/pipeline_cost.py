"""What the steps between trainings cost: maps, features, k-means, image scores, label maps."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from luss_mm.costs.machine import FLOAT32
from luss_mm.costs.recipe_images import RecipeImages
from luss_mm.costs.stage_cost import (
    PROCESS,
    Cost,
    decoding_seconds,
    process_memory,
    seconds_together,
)
from luss_mm.costs.step_times import CountedTimes, clustering_operations, sam_operations
from luss_mm.costs.trial_step import TRIAL_SAMPLES, draw_made_up_samples
from luss_mm.datasets.sample_seed import sample_randomness
from luss_mm.inference.feature_source import FeatureSource
from luss_mm.models.attended_inference import AttendedInference
from luss_mm.models.segmenters.sam_network import resolve_sizes
from luss_mm.recipes.recipe import Recipe

BYTES = 4
MAP_COPIES = 6  # feature maps that are in memory at once: enlarged, gates, and between
LABEL_MAP_BYTES = 8192  # of a PNG: two blocks of a disk; 4 kB and less for 160 x 240 pixels
LABEL_SECONDS = 0.005  # of one core: resizing and compressing a label map
GRABCUT_SECONDS = 0.025  # of one core; .01 to .05 in runs, see docs/cost.md


class PipelineCosts:
    """Costs of the steps that a recipe's hooks do, each output once.

    Args:
        recipe: Already checked.
        facts: Of the images.
        times: How seconds are found.
        processes: Of the run.
    """

    def __init__(
        self, recipe: Recipe, facts: RecipeImages, times: CountedTimes, processes: int = 1
    ) -> None:
        self.recipe = recipe
        self.facts = facts
        self.times = times
        self.processes = processes
        self._done: set[str] = set()

    def before(self, hooks: list[Mapping[str, Any]]) -> Iterator[Cost]:
        """Steps that hooks of a stage do before it trains."""
        for hook in hooks:
            if hook['type'] == 'FeatureMapsHook':
                yield self._maps(hook['source'])
        for hook in hooks:
            if hook['type'] in ('ClusterHook', 'CSDHook'):
                yield from self._clustering(hook)
        for hook in hooks:
            if hook['type'] == 'PseudoLabelHook':
                yield self._labels(hook)

    def after(self, name: str, stage: Mapping[str, Any]) -> Iterator[Cost]:
        """Steps that hooks of a stage do when it is trained."""
        for hook in stage.get('custom_hooks') or ():
            if hook['type'] == 'DFFHook':
                passes = 2 if hook.get('flip_average') else 1
                trial = self._trial(_build(stage['model']), FLOAT32, hook['dataset'])
                yield self._embedding(f'{name}/image_scores', trial, hook, 8, passes)

    def _maps(self, source: Mapping[str, Any]) -> Cost:
        trial = self._trial(*self._attended(source), source['dataset'])
        size = trial.map_bytes(source['map_outputs'])
        return self._embedding(Path(source['maps']).name, trial, source, size)

    def _clustering(self, hook: Mapping[str, Any]) -> Iterator[Cost]:
        source = hook['source']
        features, clusters = hook.get('features', 'features'), hook.get('clusters', 'clusters')
        channels = self._model_of(source)['channels']
        if features not in self._done:
            self._done.add(features)
            trial = self._trial(
                *self._attended(source), source['dataset'], bool(source.get('maps'))
            )
            yield self._embedding(features, trial, source, BYTES * channels)
        images = self.facts.count(source['dataset'])
        if clusters not in self._done:
            self._done.add(clusters)
            yield self._kmeans(clusters, images, channels, hook)
        if 'denoised' in hook:
            kept = round(images * (hook.get('keep_fraction') or 1.0))
            yield self._kmeans(hook['denoised'], kept, channels, hook)

    def _embedding(
        self,
        output: str,
        trial: '_Trial',
        source: Mapping[str, Any],
        bytes_an_image: int,
        passes: int = 1,
    ) -> Cost:
        images, batch = self.facts.count(source['dataset']), source['batch_size']
        forward = self.times.forward(trial, batch) * passes
        trial.operations *= passes
        disk = images * bytes_an_image
        return self._cost(output, images, batch, trial, forward, 0.0, source, disk, disk, 10)

    def _kmeans(self, output: str, images: int, channels: int, hook: Mapping[str, Any]) -> Cost:
        clusters, restarts = hook['num_clusters'], hook.get('kmeans_restarts', 30)
        passes = restarts * (hook.get('kmeans_iterations', 20) + 1)
        rows = images * channels * BYTES
        on_gpu = bool(self.times.machine.gpu_memory)
        return Cost(
            name=f'{output} (k-means, K = {clusters})',
            output=output,
            images=images,
            epochs=restarts,
            iterations=passes,
            batch=images,
            operations=clustering_operations(images, channels, clusters, passes),
            seconds=self.times.clustering(images, channels, clusters, passes),
            memory=PROCESS + 3 * clusters * channels * BYTES,  # rows are mapped from the disk
            gpu_memory=clusters * channels * BYTES + 10**9 if on_gpu else 0,
            disk=clusters * channels * BYTES + 12 * images,
            passing_disk=rows if output == hook.get('denoised') else 0,
            files=8,
            lower='num_categories',
        )

    def _labels(self, hook: Mapping[str, Any]) -> Cost:
        source, dataset = hook['source'], hook['label_dataset']
        trial = self._trial(*self._attended(source), dataset, bool(source.get('maps')))
        images, batch = self.facts.count(dataset), source['batch_size']
        clusters = self.recipe.settings.resolve('${num_categories}')
        trial.operations += 2.0 * trial.numbers * clusters  # every pixel with every centroid
        forward = self.times.forward(trial, batch)
        segmenter = (hook.get('label_transform') or {}).get('segmenter')
        work, operations, on_device = self._segmenting(segmenter)
        trial.operations += operations
        disk = images * LABEL_MAP_BYTES
        return self._cost(
            'pseudo_labels',
            images,
            batch,
            trial,
            forward + on_device,
            LABEL_SECONDS + work,
            source,
            disk,
            0,
            images,
        )

    def _segmenting(self, segmenter: Mapping[str, Any] | None) -> tuple[float, float, float]:
        """Of an image: seconds of one core, operations, and seconds of the device."""
        if segmenter is None:
            return 0.0, 0.0, 0.0
        if segmenter['type'] != 'SAMSegmenter':
            return GRABCUT_SECONDS, 0.0, 0.0
        sizes = resolve_sizes(segmenter.get('model_type', 'vit_b'))
        precision = segmenter.get('encoder_dtype', 'float32')
        return 0.0, sam_operations(sizes), self.times.segmenting(sizes, precision)

    def _cost(
        self,
        output: str,
        images: int,
        batch: int,
        trial: '_Trial',
        forward: float,
        on_core: float,
        source: Mapping[str, Any],
        disk: int,
        passing_disk: int,
        files: int,
    ) -> Cost:
        machine, workers = self.times.machine, source.get('num_workers', 0)
        share = images / self.processes
        loading = trial.loading + decoding_seconds(self.facts.size)
        network = BYTES * (trial.parameters + MAP_COPIES * batch * trial.numbers)
        each = seconds_together(forward, loading, workers, machine) + on_core
        main = process_memory(workers, 32 * trial.image_bytes, images)
        return Cost(
            name=output,
            output=output,
            images=images,
            epochs=1,
            iterations=-(-round(share) // batch),
            batch=batch,
            operations=trial.operations * share,
            seconds=share * each,
            memory=main if machine.gpu_memory else main + network,
            gpu_memory=network if machine.gpu_memory else 0,
            disk=disk,
            passing_disk=passing_disk,
            files=files,
            lower='label_batch_size',
        )

    def _attended(self, source: Mapping[str, Any]) -> tuple[nn.Module, str]:
        """The network that a source runs, with random weights, and its precision."""
        precision = FeatureSource(**source).precision
        return AttendedInference(_build(self._model_of(source)), precision), precision

    def _trial(
        self,
        network: nn.Module,
        precision: str,
        dataset: Mapping[str, Any],
        has_maps: bool = False,
    ) -> '_Trial':
        device = self.times.machine.device
        return _Trial(network.to(device), precision, dataset, self.facts.size, device, has_maps)

    def _model_of(self, source: Mapping[str, Any]) -> Mapping[str, Any]:
        """Config of the network whose stage a source names."""
        return self.recipe.stage(Path(source['config']).parent.name, '<stage_dir>')['model']


def _build(config: Mapping[str, Any]) -> nn.Module:
    with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
        return MODELS.build(dict(config)).eval()


class _Trial:
    """A network in eval mode and one made-up image of a data set.

    Attributes:
        precision: Type of number of the network's products.
        operations: Of a forward pass of one image.
        numbers: In an image's feature map.
        parameters: In the network.
        loading: Seconds of one core to transform an image.
        image_bytes: Of an image as it is passed on.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: str,
        dataset: Mapping[str, Any],
        image_size: tuple[int, int],
        device: str,
        has_maps: bool = False,
    ) -> None:
        with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
            (sample, *_), self.loading = draw_made_up_samples(
                dict(dataset=dataset), TRIAL_SAMPLES, image_size
            )
        self.precision = precision
        self._network = network
        image = sample['inputs'][None].to(device)
        self._image = network.data_preprocessor.normalize(image)  # (1, 3, h, w)
        self.image_bytes = image.nbytes
        self.parameters = sum(p.numel() for p in network.parameters())
        self._features = self._maps()[network.in_index] if has_maps else None
        with FlopCounterMode(display=False) as counter:
            output = self.run(1)
        self.operations = float(counter.get_total_flops())
        self.numbers = self._map_size(output)

    @torch.inference_mode()
    def run(self, batch: int) -> Any:
        """Forward pass of a batch, from the deep maps where they are cached."""
        images = self._image.expand(batch, -1, -1, -1).contiguous()
        if self._features is None:
            return self._network(images)
        return self._network(images, self._features.expand(batch, -1, -1, -1).contiguous())

    def map_bytes(self, outputs: Sequence[int]) -> int:
        """Bytes of an image's maps as they are cached: float16."""
        return sum(2 * self._maps()[output].numel() for output in outputs)

    @torch.inference_mode()
    def _maps(self) -> tuple[torch.Tensor, ...]:
        return self._network.feature_maps(self._image)

    def _map_size(self, output: Any) -> int:
        """A classifier gives logits, the attended network embeddings and scores (1, h, w)."""
        if isinstance(output, tuple):
            embeddings, scores = output
            return embeddings.shape[1] * scores.numel()
        return self._image.numel()
