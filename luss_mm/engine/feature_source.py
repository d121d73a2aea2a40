"""The network that embeds images and the images that it embeds, as hooks get them from a config."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmseg.registry import DATASETS, MODELS

from luss_mm.engine.checkpoint import load_weights
from luss_mm.engine.config_file import read_own_config
from luss_mm.engine.optimizers.bfloat16 import cpu_has_fast_bfloat16
from luss_mm.models.attended_inference import PRECISIONS, AttendedInference
from luss_mm.pipeline.artifact import fingerprint_file
from luss_mm.pipeline.extract_features import Features, extract_features
from luss_mm.pipeline.image_batches import ShardedBatches


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
        """Batches of any images in the sizes of this source."""
        built = DATASETS.build(dataset)
        return ShardedBatches(built, self.batch_size, self.shard_size, self.num_workers)

    def loading_settings(self, dataset: Mapping[str, Any]) -> dict[str, Any]:
        """What decides features besides weights and images, for an artifact's key.

        Batch and shard size change their last bits, the precision their third digit, the transforms
        everything.
        """
        return dict(
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
