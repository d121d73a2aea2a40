"""Pseudo-labels are made before fine-tuning begins."""

from pathlib import Path
from typing import Any

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmseg.registry import HOOKS, TRANSFORMS

from luss_mm.inference.feature_source import FeatureSource
from luss_mm.pipeline.foreground_threshold import CERTAIN_QUANTILES, ThresholdRule
from luss_mm.pipeline.pseudo_labels import PseudoLabelJob, make_pseudo_labels


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """Threshold and label maps from finished features and clusters.

    `ClusterHook` or `CSDHook` finishes these before; both have a higher priority.

    Args:
        directory: Gets the folders threshold and pseudo_labels; holds features and clusters.
        source: Arguments of `FeatureSource`: what made the features.
        label_dataset: Config of the whole training images.
        label_transform: Config of `GeneratePseudoLabel`.
        foreground_threshold: 'otsu' (label-free), a number, or 'validation_sweep', which looks at
            the masks of `sweep_dataset`.
        sweep_dataset: Config of the validation images with masks; used by the sweep alone.
        features: Name of the folder of features.
        clusters: Name of the folder of clusters.
        certain_quantiles: Of the training foreground scores: up to the first a pixel is surely
            background, from the second on surely object. Prompts from the score need them.
    """

    def __init__(
        self,
        directory: str,
        source: dict[str, Any],
        label_dataset: dict[str, Any],
        label_transform: dict[str, Any],
        foreground_threshold: str | float = 'otsu',
        sweep_dataset: dict[str, Any] | None = None,
        features: str = 'features',
        clusters: str = 'clusters',
        certain_quantiles: tuple[float, float] = CERTAIN_QUANTILES,
    ) -> None:
        self.directory = Path(directory)
        self.source = FeatureSource(**source)
        self.label_dataset = label_dataset
        self.label_transform = label_transform
        self.foreground_threshold = foreground_threshold
        self.sweep_dataset = sweep_dataset
        self.features = features
        self.clusters = clusters
        self.certain_quantiles = certain_quantiles

    def check(self) -> None:
        """Refuse, before any stage trains, what could only fail here.

        Raises:
            ValueError: If the threshold's rule or the kind of prompts is unknown, or the segmenter
                cannot work, as without its checkpoint.
        """
        self._threshold_rule()
        TRANSFORMS.build(self.label_transform).check()

    def before_train(self, runner) -> None:
        """Make the label maps that the training data loader will read."""
        make_pseudo_labels(
            PseudoLabelJob(
                directory=self.directory,
                features=self.directory / self.features,
                clusters=self.directory / self.clusters,
                model=self.source.model,
                model_key=self.source.model_key,
                label_batches=self.source.batches(self.label_dataset),
                loading=self.source.loading_settings(self.label_dataset),
                transform=TRANSFORMS.build(self.label_transform),
                threshold_rule=self._threshold_rule(),
                device=get_device(),
            )
        )

    def _threshold_rule(self) -> ThresholdRule:
        sweep = self.foreground_threshold == 'validation_sweep'
        batches = self.source.batches(self.sweep_dataset) if sweep else None
        return ThresholdRule(self.foreground_threshold, batches, self.certain_quantiles)
