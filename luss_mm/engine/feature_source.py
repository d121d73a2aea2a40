"""The network that embeds images and the images that it embeds, as hooks get them from a config."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmseg.registry import DATASETS, MODELS

from luss_mm.engine.checkpoint import load_weights
from luss_mm.models.attended_backbone import AttendedBackbone
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
    """

    def __init__(
        self,
        config: str,
        checkpoint: str,
        dataset: Mapping[str, Any],
        batch_size: int = 64,
        shard_size: int = 256,
        num_workers: int = 2,
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.dataset = dataset
        self.batch_size = batch_size
        self.shard_size = shard_size
        self.num_workers = num_workers

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
    def model(self) -> AttendedBackbone:
        """The model with its weights, in eval mode, on this machine's device."""
        return load_attended_backbone(self.config, self.checkpoint)

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

        Batch and shard size change their last bits, the transforms change everything.
        """
        return dict(
            transforms=dataset['pipeline'], batch_size=self.batch_size, shard_size=self.shard_size
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


def load_attended_backbone(config: str | Path, checkpoint: str | Path) -> AttendedBackbone:
    """Build the model of a stage with its weights, in eval mode, on this machine's device."""
    model = MODELS.build(Config.fromfile(config).model)
    load_weights(model, checkpoint)
    return model.eval().to(get_device())
