"""The frozen backbone of a recipe: its weights and the pixels that it sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmseg.registry import DATASETS, MODELS

from luss_mm.checkpoints.loading import load_backbone
from luss_mm.models.preprocessors import ViewsPreprocessor
from luss_mm.packaged_weights import checkpoint_file, find_labels_used
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.reference_features import PixelFeatures
from luss_mm.recipes.settings import Settings, SettingsError
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.manifest import is_finished, read_manifest

RANDOM = 'random'
WANTED = (
    *('backbone', 'in_index', 'loading', 'resizing'),
    *('label_batch_size', 'shard_size', 'num_workers', 'seed'),
)


@dataclass(frozen=True)
class FrozenBackbone:
    """What the features of a recipe's backbone are made from.

    Attributes:
        settings: Resolved settings of `WANTED`, others that were asked for, and `image_mean` and
            `image_std` if the recipe has them.
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

    def extractor(self) -> PixelFeatures:
        """The network. Random weights are drawn from the recipe's seed.

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

    def facts(self) -> dict[str, Any]:
        """JSON-like: network, weights, the labels that these have seen, and how images are read."""
        settings = self.settings
        is_file = _is_file(self.checkpoint)
        return dict(
            images=dict(loading=settings['loading'], resizing=settings['resizing']),
            weights=self.checkpoint,
            weights_sha256=fingerprint_file(self.checkpoint) if is_file else None,
            labels_of_weights=labels_of_weights(self.checkpoint),
        )


def read_frozen_backbone(
    settings: Settings, checkpoint: str | None = None, also: Sequence[str] = ()
) -> FrozenBackbone:
    """Take from a recipe what the features of its backbone need.

    Args:
        settings: Of the recipe.
        checkpoint: Instead of the recipe's own setting of this name.
        also: Further settings that are needed.

    Raises:
        SettingsError: If the recipe lacks a setting or names no weights.
        FileNotFoundError: If there are no such weights.
    """
    wanted = (*WANTED, *also)
    if missing := [name for name in wanted if settings.values.get(name) is None]:
        raise SettingsError(
            f'the recipe sets no {", ".join(missing)}: name an unsupervised recipe with masks'
        )
    names = [name for name in (*wanted, 'image_mean', 'image_std') if name in settings.values]
    resolved = {name: settings.resolve(f'${{{name}}}', name) for name in names}
    checkpoint = checkpoint or settings.resolve(settings.values.get('checkpoint'), 'checkpoint')
    if checkpoint is None:
        raise SettingsError(
            f"the recipe sets no checkpoint: name weights with --checkpoint FILE, or '{RANDOM}'"
        )
    if _is_file(checkpoint) and not checkpoint_file(checkpoint).is_file():
        raise FileNotFoundError(f'{checkpoint}: no such checkpoint')
    return FrozenBackbone(resolved, checkpoint)


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


def _is_file(checkpoint: str) -> bool:
    return checkpoint != RANDOM and '://' not in checkpoint
