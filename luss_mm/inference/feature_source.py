"""The network that embeds images and the images that it embeds, as hooks get them from a config."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmseg.registry import DATASETS, MODELS

from luss_mm.checkpoints.loading import load_weights
from luss_mm.datasets.cached_maps import WithDeepMap
from luss_mm.models.attended_backbone import PRECISIONS, AttendedInference
from luss_mm.models.cpu_speed import cpu_has_fast_bfloat16
from luss_mm.pipeline.features import cache_feature_maps, extract_features
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.recipes.config_file import read_own_config
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.manifest import artifact_key, read_manifest
from luss_mm.work_dir.run_folder import Features

_shared: WeakValueDictionary[str, 'FeatureSource'] = WeakValueDictionary()


def shared_source(arguments: Mapping[str, Any]) -> 'FeatureSource':
    """The source of these arguments; whoever asks for an equal one gets it while it is in use.

    So the steps of a stage load one network.
    """
    key = json.dumps(arguments, sort_keys=True, default=str)
    source = _shared.get(key)
    if source is None:
        source = _shared[key] = FeatureSource(**arguments)
    return source


class FeatureSource:
    """A finished stage's backbone with pixel attention, and the training images.

    Args:
        config: Config of the stage whose model this is: attention, or the last classifier of DFF.
        checkpoint: Its weights.
        dataset: Config of the training images at clustering size.
        batch_size: Images in a forward pass.
        shard_size: Images that an interruption loses at most, and that one rank takes at a time.
        num_workers: Loading processes.
        precision: 'float32', 'bfloat16', or 'auto': bfloat16 where the machine is fast in it. With
            bfloat16 backbone and attention round their products, and .1 to .4 % of the pixels get
            another label (docs/performance.md).
        maps: Folder for the backbone's maps of the training images, which are then computed once,
            see `cache_maps`; None runs the backbone in every step.
        map_outputs: Which of the backbone's outputs are kept there, the deep map among them.

    Raises:
        ValueError: If there is no such precision.
    """

    def __init__(
        self,
        config: str,
        checkpoint: str,
        dataset: Mapping[str, Any],
        batch_size: int = 64,
        shard_size: int = 256,
        num_workers: int = 2,
        precision: str = 'auto',
        maps: str | None = None,
        map_outputs: Sequence[int] = (),
    ) -> None:
        if precision not in ('auto', *PRECISIONS):
            raise ValueError(
                f"inference_precision: 'auto' or one of {PRECISIONS}, not {precision!r}"
            )
        self.config = config
        self.checkpoint = checkpoint
        self.dataset = dataset
        self.batch_size = batch_size
        self.shard_size = shard_size
        self.num_workers = num_workers
        self._precision = precision
        self.maps = maps
        self.map_outputs = list(map_outputs)

    def check_size(self, num_clusters: int) -> None:
        """Refuse more clusters than images.

        Raises:
            ValueError: Saying so.
        """
        images = len(DATASETS.build(self.dataset))
        if images < num_clusters:
            raise ValueError(
                f'{images} training images cannot form {num_clusters} clusters. Set a smaller '
                'num_categories.'
            )

    @cached_property
    def model(self) -> AttendedInference:
        """The model with its weights, in this source's precision, on this machine's device."""
        model = MODELS.build(read_own_config(self.config).model)
        load_weights(model, self.checkpoint)
        return AttendedInference(model, self.precision).to(get_device())

    @property
    def precision(self) -> str:
        """What 'auto' means on this machine, or the precision that was asked for."""
        if self._precision != 'auto':
            return self._precision
        if get_device() == 'cuda':
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = get_device() == 'cpu' and cpu_has_fast_bfloat16()
        return 'bfloat16' if fast else 'float32'

    @cached_property
    def model_key(self) -> str:
        """Names the weights."""
        return fingerprint_file(self.checkpoint)

    def batches(self, dataset: Mapping[str, Any]) -> ShardedBatches:
        """Batches of any images in the sizes of this source, with cached maps if there are some."""
        built = DATASETS.build(dataset)
        if self._has_maps_of(dataset, built):
            level = self.map_outputs.index(self.model.in_index)
            built = WithDeepMap(built, self.maps, level)
        return self._batches_of(built)

    def cache_maps(self) -> None:
        """Compute the maps of the training images unless they are there; collective.

        Raises:
            ValueError: If the deep map is not among the outputs that are to be kept.
        """
        if self.maps is None:
            return
        if self.model.in_index not in self.map_outputs:
            raise ValueError(
                f'the deep map is output {self.model.in_index} of the backbone, which is not among '
                f'the cached outputs {self.map_outputs}'
            )
        built = DATASETS.build(self.dataset)
        cache_feature_maps(
            self.maps,
            self.model,
            self._batches_of(built),
            self.map_outputs,
            **self._made_from(self.dataset, built),
            device=get_device(),
        )

    def loading_settings(self, dataset: Mapping[str, Any]) -> dict[str, Any]:
        """What decides features besides weights and images, for an artifact's key.

        Batch and shard size change their last bits, the precision their third digit, the transforms
        everything.
        """
        rounding = {} if self.maps is None else dict(maps='float16')
        return rounding | dict(
            transforms=dataset['pipeline'],
            batch_size=self.batch_size,
            shard_size=self.shard_size,
            precision=self.precision,
        )

    def embed(self, directory: str | Path, dataset: Mapping[str, Any] | None = None) -> Features:
        """Features of the training images, or of other ones, made if they are not there."""
        dataset = self.dataset if dataset is None else dataset
        batches = self.batches(dataset)
        return extract_features(
            directory,
            self.model,
            batches,
            inputs=dict(model=self.model_key, images=batches.dataset.fingerprint()),
            settings=self.loading_settings(dataset),
            device=get_device(),
        )

    def _batches_of(self, built: Any) -> ShardedBatches:
        return ShardedBatches(built, self.batch_size, self.shard_size, self.num_workers)

    def _made_from(self, dataset: Mapping[str, Any], built: Any) -> dict[str, dict]:
        """Inputs and settings of the maps of a data set."""
        # What a segmenter sees beside the network's input does not change the maps.
        transforms = [t for t in dataset['pipeline'] if t['type'] != 'KeepLoadedImage']
        return dict(
            inputs=dict(model=self.model_key, images=built.fingerprint()),
            settings=self.loading_settings(dict(dataset, pipeline=transforms)),
        )

    def _has_maps_of(self, dataset: Mapping[str, Any], built: Any) -> bool:
        """Whether the finished maps are those of exactly these images and transforms."""
        if self.maps is None:
            return False
        recipe = self._made_from(dataset, built) | dict(seed=None)
        recipe['settings'] |= dict(outputs=self.map_outputs)
        try:
            finished = read_manifest(self.maps)['key'] == artifact_key(recipe)
        except FileNotFoundError:
            finished = False
        if not finished:
            print_log(f'{self.maps}: holds no maps of these images, the backbone runs', 'current')
        return finished
