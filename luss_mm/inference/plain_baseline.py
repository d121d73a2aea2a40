"""The plain baseline of a recipe: its backbone, weights, pixels and masks, without any training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS

from luss_mm.checkpoints.loading import load_backbone
from luss_mm.evaluation.plain_baseline import (
    Clustering,
    embed_images,
    length_threshold,
    score_clustering,
    tally_foreground,
)
from luss_mm.evaluation.score_report import scores_in_percent
from luss_mm.models.preprocessors import ViewsPreprocessor
from luss_mm.packaged_weights import checkpoint_file, find_labels_used
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.reference_features import PixelFeatures
from luss_mm.recipes.dataset_facts import build_label_loader
from luss_mm.recipes.settings import Settings, SettingsError
from luss_mm.work_dir.artifact import fingerprint_file, is_finished, read_manifest

RANDOM = 'random'
WANTED = (
    *('backbone', 'in_index', 'data_root', 'train_split', 'loading', 'resizing', 'num_categories'),
    *('validation_dataset', 'label_batch_size'),
    *('kmeans_iterations', 'kmeans_restarts', 'kmeans_initialization'),
    *('shard_size', 'num_workers', 'seed'),
)
FIGURES = ('mIoU', 'ImgAcc', 'F-beta')
GROUND_TRUTH = 'validation masks: matching and scoring'


@dataclass(frozen=True)
class PlainBaseline:
    """What the plain baseline of a recipe is made from.

    Attributes:
        settings: Resolved settings of `WANTED`, and `image_mean` and `image_std` if it has them.
        checkpoint: Weights `backbone.*`, `package:name`, or 'random'.
    """

    settings: Mapping[str, Any]
    checkpoint: str

    def batches(self, dataset: Mapping[str, Any]) -> ShardedBatches:
        """Whole images at the recipe's size, loaded as for its label maps."""
        resizing = {  # of a run, they have been JSON, where mmcv's tuples are lists
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.settings['resizing'].items()
        }
        pipeline = [self.settings['loading'], resizing, dict(type='PackImage')]
        sizes = (self.settings[key] for key in ('label_batch_size', 'shard_size', 'num_workers'))
        return ShardedBatches(DATASETS.build(dict(dataset, pipeline=pipeline)), *sizes)

    def training_batches(self) -> ShardedBatches:
        """The images that are clustered."""
        prefix = dict(img_path=self.settings['train_split'])
        root = self.settings['data_root']
        return self.batches(dict(type='LUSSDataset', data_root=root, data_prefix=prefix))

    def extractor(self) -> PixelFeatures:
        """The frozen backbone. Random weights are drawn from the recipe's seed.

        Raises:
            CheckpointError: If the weights cannot be used.
        """
        torch.manual_seed(self.settings['seed'])
        backbone = MODELS.build(self.settings['backbone'])
        if self.checkpoint == RANDOM:
            _initialise(backbone)
        else:
            load_backbone(backbone, self.checkpoint)
        names = {'mean': 'image_mean', 'std': 'image_std'}
        given = {k: self.settings[name] for k, name in names.items() if name in self.settings}
        preprocessor = ViewsPreprocessor(**given)
        device = get_device()
        return PixelFeatures(
            backbone.to(device), preprocessor.to(device), self.settings['in_index'], upsample=1
        )


def read_plain_baseline(settings: Settings, checkpoint: str | None = None) -> PlainBaseline:
    """Take from a recipe what the plain baseline needs.

    Args:
        settings: Of the recipe.
        checkpoint: Instead of the recipe's own setting of this name.

    Raises:
        SettingsError: If the recipe lacks a setting or names no weights.
        FileNotFoundError: If there are no such weights.
    """
    if missing := [name for name in WANTED if settings.values.get(name) is None]:
        raise SettingsError(
            f'the recipe sets no {", ".join(missing)}: name an unsupervised recipe with masks'
        )
    names = [name for name in (*WANTED, 'image_mean', 'image_std') if name in settings.values]
    resolved = {name: settings.resolve(f'${{{name}}}', name) for name in names}
    checkpoint = checkpoint or settings.resolve(settings.values.get('checkpoint'), 'checkpoint')
    if checkpoint is None:
        raise SettingsError(
            f"the recipe sets no checkpoint: name weights with --checkpoint FILE, or '{RANDOM}'"
        )
    if _is_file(checkpoint) and not checkpoint_file(checkpoint).is_file():
        raise FileNotFoundError(f'{checkpoint}: no such checkpoint')
    return PlainBaseline(resolved, checkpoint)


def score_plain_baseline(baseline: PlainBaseline, seeds: int) -> dict[str, Any]:
    """Run it with several seeds of k-means.

    Args:
        baseline: Of `read_plain_baseline`.
        seeds: How many; the first is 0.

    Returns:
        JSON-like: mean and range of each figure in percent, all figures of each seed, and what
        they were made from.
    """
    settings, checkpoint = baseline.settings, baseline.checkpoint
    with DefaultScope.overwrite_default_scope('mmseg'):
        extractor = baseline.extractor()
        training = baseline.training_batches()
        validation = baseline.batches(settings['validation_dataset'])
        trained_on = embed_images(extractor, training, 'training images')
        scored = embed_images(extractor, validation, 'validation images')
    threshold = length_threshold(trained_on.lengths)
    num_categories = len(validation.dataset.metainfo['classes']) - 1
    labels = build_label_loader(settings['validation_dataset']['pipeline'])
    tallies = list(tally_foreground(scored.lengths, validation, threshold, num_categories, labels))
    clustering = Clustering(
        settings['num_categories'],
        settings['kmeans_iterations'],
        settings['kmeans_restarts'],
        settings['kmeans_initialization'],
    )
    per_seed = [
        scores_in_percent(
            score_clustering(
                trained_on.embeddings, scored.embeddings, tallies, clustering, num_categories, seed
            )
        )
        for seed in range(seeds)
    ]
    return dict(
        {name: _summary([figures[name] for figures in per_seed]) for name in FIGURES},
        seeds=per_seed,
        length_threshold=threshold,
        num_clusters=clustering.num_clusters,
        kmeans=asdict(clustering),
        training_images=len(trained_on.lengths),
        validation_images=len(scored.lengths),
        images=dict(loading=settings['loading'], resizing=settings['resizing']),
        features=dict(backbone=settings['backbone'], **extractor.facts()),
        weights=checkpoint,
        weights_sha256=fingerprint_file(checkpoint) if _is_file(checkpoint) else None,
        labels_of_weights=labels_of_weights(checkpoint),
        ground_truth_use=GROUND_TRUTH,
    )


def labels_of_weights(checkpoint: str | None) -> list[str]:
    """What labels the weights and those that they started from have seen, a line for each use.

    Args:
        checkpoint: Weights of a finished stage, `package:name`, 'random' or None for random ones.
            Other files do not say: the list then says so.
    """
    if checkpoint in (None, RANDOM):
        return []
    if labels := find_labels_used(checkpoint):
        return [labels]
    stage = Path(checkpoint).parent
    if not is_finished(stage):
        return [f'{checkpoint}: not known']
    manifest = read_manifest(stage)
    start = manifest['settings'].get('load_from')
    before = labels_of_weights(start and start.replace('<work_dir>', str(stage.parent)))
    return [*manifest['used_ground_truth'], *before]


def _initialise(backbone: BaseModule) -> None:
    """Random weights as a training starts from, without mmengine's three lines a parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        backbone.init_weights()
    finally:
        logger.setLevel(level)


def _summary(values: list[float]) -> dict[str, float]:
    return dict(mean=round(float(np.mean(values)), 2), min=min(values), max=max(values))


def _is_file(checkpoint: str) -> bool:
    return checkpoint != RANDOM and '://' not in checkpoint
