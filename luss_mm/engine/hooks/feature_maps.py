"""The maps of a frozen backbone are computed before the steps that read them."""

from itertools import islice
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.registry import DATASETS, HOOKS

from luss_mm.checkpoints.loading import load_checkpoint
from luss_mm.inference.feature_source import FeatureSource


@HOOKS.register_module()
class FeatureMapsHook(Hook):
    """Caches the maps of the training images for clustering, pixel labels and this training.

    Args:
        source: Arguments of `FeatureSource`, with `maps`.
    """

    priority = 'HIGH'  # before the hooks that cluster and label

    def __init__(self, source: dict[str, Any]) -> None:
        self.source = FeatureSource(**source)

    def before_train(self, runner) -> None:
        """Compute the maps that are not there yet.

        Raises:
            ValueError: If this training has other images, or another backbone, than the maps.
        """
        self._refuse_other_images(runner.train_dataloader.dataset)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._refuse_other_backbone(model.backbone.state_dict())
        self.source.cache_maps()

    def _refuse_other_images(self, trained: Any) -> None:
        cached = DATASETS.build(self.source.dataset)
        same = len(cached) == len(trained) and all(
            cached.relative_path(i) == trained.relative_path(i) for i in range(len(cached))
        )
        if not same:
            raise ValueError(
                f'the maps of {len(cached)} images would be cached, but this stage trains on '
                f'{len(trained)} and they are not the same: give both data sets the same images, '
                'or set cache_maps=False'
            )

    def _refuse_other_backbone(self, weights: dict[str, torch.Tensor]) -> None:
        source = load_checkpoint(self.source.checkpoint)['state_dict']
        different = (
            name
            for name, value in weights.items()
            if f'backbone.{name}' not in source
            or not torch.equal(source[f'backbone.{name}'], value.cpu())
        )
        for name in islice(different, 1):
            raise ValueError(
                f"this stage's backbone differs from that of {self.source.checkpoint}, which the "
                f'maps are cached of, first in {name}: set load_from to that file, or '
                'cache_maps=False'
            )
