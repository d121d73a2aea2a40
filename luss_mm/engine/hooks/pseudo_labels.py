"""Pseudo-labels are made before fine-tuning begins."""

from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmseg.registry import DATASETS, HOOKS, MODELS

from luss_mm.engine.checkpoint import load_weights
from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.pipeline.foreground_threshold import ThresholdRule
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.pseudo_labels import PseudoLabelJob, fingerprint_file, make_pseudo_labels


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """Features, clusters, threshold and label maps, whatever of them is not finished yet.

    Args:
        directory: Gets the folders features, clusters, threshold and pseudo_labels.
        attention_config: Config of the attention stage.
        attention_checkpoint: Its weights.
        embedding_dataset: Config of the training images at clustering size.
        label_dataset: Config of the whole training images.
        num_clusters: K.
        foreground_threshold: 'otsu' (label-free), a number, or 'validation_sweep', which looks at
            the masks of `sweep_dataset`.
        sweep_dataset: Config of the validation images with masks; used by the sweep alone.
        kmeans_iterations: Of each restart.
        kmeans_restarts: Number of restarts.
        batch_size: Images in a forward pass.
        shard_size: Images that an interruption loses at most, and that one rank takes at a time.
        num_workers: Loading processes.
        seed: Of k-means.
    """

    def __init__(
        self,
        directory: str,
        attention_config: str,
        attention_checkpoint: str,
        embedding_dataset: dict,
        label_dataset: dict,
        num_clusters: int,
        foreground_threshold: str | float = 'otsu',
        sweep_dataset: dict | None = None,
        kmeans_iterations: int = 20,
        kmeans_restarts: int = 30,
        batch_size: int = 64,
        shard_size: int = 256,
        num_workers: int = 2,
        seed: int = 0,
    ) -> None:
        self.directory = Path(directory)
        self.attention_config = attention_config
        self.attention_checkpoint = attention_checkpoint
        self.embedding_dataset = embedding_dataset
        self.label_dataset = label_dataset
        self.num_clusters = num_clusters
        self.foreground_threshold = foreground_threshold
        self.sweep_dataset = sweep_dataset
        self.kmeans = dict(kmeans_iterations=kmeans_iterations, kmeans_restarts=kmeans_restarts)
        self.batch_size = batch_size
        self.shard_size = shard_size
        self.num_workers = num_workers
        self.seed = seed

    def check(self) -> None:
        """Refuse, before any stage trains, what could only fail here.

        Raises:
            ValueError: If the threshold's rule is unknown or there are more clusters than images.
        """
        self._threshold_rule()
        images = len(DATASETS.build(self.embedding_dataset))
        if images < self.num_clusters:
            raise ValueError(
                f'{images} training images cannot form {self.num_clusters} clusters. Set a smaller '
                'num_categories.'
            )

    def before_train(self, runner) -> None:
        """Make the label maps that the training data loader will read."""
        make_pseudo_labels(
            PseudoLabelJob(
                directory=self.directory,
                model=load_attention_model(self.attention_config, self.attention_checkpoint),
                model_key=fingerprint_file(self.attention_checkpoint),
                embedding_batches=self._batches(self.embedding_dataset),
                label_batches=self._batches(self.label_dataset),
                embedding_transforms=self.embedding_dataset['pipeline'],
                label_transforms=self.label_dataset['pipeline'],
                num_clusters=self.num_clusters,
                threshold_rule=self._threshold_rule(),
                seed=self.seed,
                device=get_device(),
                **self.kmeans,
            )
        )

    def _threshold_rule(self) -> ThresholdRule:
        sweep = self.foreground_threshold == 'validation_sweep'
        batches = self._batches(self.sweep_dataset) if sweep else None
        return ThresholdRule(self.foreground_threshold, batches)

    def _batches(self, dataset: dict) -> ShardedBatches:
        return ShardedBatches(
            DATASETS.build(dataset), self.batch_size, self.shard_size, self.num_workers
        )


def load_attention_model(config: str | Path, checkpoint: str | Path) -> PixelAttentionModel:
    """Build the model of an attention stage with its weights, in eval mode, on this device."""
    model = MODELS.build(Config.fromfile(config).model)
    load_weights(model, checkpoint)
    return model.eval().to(get_device())
