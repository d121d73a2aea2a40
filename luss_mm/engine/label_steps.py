"""The steps of a finished run that change pseudo-labels, each applied to any split."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmseg.registry import TRANSFORMS

from luss_mm.engine.config_file import read_own_config
from luss_mm.engine.feature_source import FeatureSource
from luss_mm.engine.literal_config import ConfigError
from luss_mm.functional.score_quantiles import certain_scores
from luss_mm.functional.thresholds import otsu_threshold
from luss_mm.pipeline.artifact import read_manifest
from luss_mm.pipeline.cluster_features import load_clusters
from luss_mm.pipeline.extract_features import load_features
from luss_mm.pipeline.foreground_threshold import CERTAIN_QUANTILES
from luss_mm.pipeline.generate_labels import PixelLabeller, generate_labels
from luss_mm.pipeline.pseudo_labels import THRESHOLD


@dataclass(frozen=True)
class LabelStep:
    """What pixels would be labelled with if the run had ended after this step.

    Attributes:
        name: k-means, DFF, CSD or SPO.
        source: Network and training images.
        features: Finished features of the training images.
        clusters: Finished clusters.
        label_dataset: Config of the whole training images.
        label_transform: Config of `GeneratePseudoLabel`.
        threshold: Of the foreground score.
        ignore_index: Mask id of pixels that count nowhere.
        certain_quantiles: Of the foreground scores of the step's training images.
    """

    name: str
    source: FeatureSource
    features: Path
    clusters: Path
    label_dataset: Mapping[str, Any]
    label_transform: Mapping[str, Any]
    threshold: float
    ignore_index: int
    certain_quantiles: tuple[float, float] = CERTAIN_QUANTILES

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(load_clusters(self.clusters).centroids)

    @property
    def used_sam(self) -> bool:
        """Whether SAM, which human masks trained, makes these labels."""
        segmenter = TRANSFORMS.build(dict(self.label_transform)).segmenter
        return segmenter is not None and segmenter.used_sam

    def masks_of(self, split: str) -> Path:
        """Folder with the masks of a split."""
        return Path(self.label_dataset['data_root'], f'{split}-segmentation')

    def label_split(self, split: str, out: Path) -> Path:
        """Label the images of a split of the run's data set.

        Args:
            split: Folder below the data root.
            out: Gets the folders features and labels, which later calls take up.

        Returns:
            The folder with `<relative path>.png`.
        """
        images = dict(data_prefix=dict(img_path=split))
        embeddings = self.source.embed(out / 'features', dict(self.source.dataset, **images))
        batches = self.source.batches(dict(self.label_dataset, **images))
        labeller = PixelLabeller(
            self.source.model,
            load_clusters(self.clusters).centroids,
            self.threshold,
            TRANSFORMS.build(dict(self.label_transform)),
            certain_scores(
                load_features(self.features).score_counts, self.certain_quantiles, self.threshold
            ),
        )
        return generate_labels(
            out / 'labels',
            labeller,
            batches,
            embeddings.embeddings,
            inputs=dict(
                model=self.source.model_key,
                clusters=read_manifest(self.clusters)['key'],
                features=read_manifest(out / 'features')['key'],
                images=batches.dataset.fingerprint(),
            ),
            settings=self.source.loading_settings(self.label_dataset),
        )


def find_label_steps(work_dir: str | Path) -> list[LabelStep]:
    """Steps of a run in their order; the last is what the run was fine-tuned on.

    Thresholds are each step's own by Otsu's rule, or the run's, where that has another rule.

    Raises:
        FileNotFoundError: If the run is not finished.
        ConfigError: If it makes no pseudo-labels.
    """
    work_dir = Path(work_dir)
    hooks = _hooks_of(work_dir / 'finetune')
    if 'PseudoLabelHook' not in hooks:
        raise ConfigError(f'{work_dir}: has made no pseudo-labels. Name a run of PASS or PDSO.')
    labels = hooks['PseudoLabelHook']
    training = read_own_config(work_dir / 'finetune' / 'config.py').train_dataloader.dataset
    clustering = hooks.get('CSDHook') or hooks['ClusterHook']
    refined = labels['label_transform']
    coarse = dict(refined, segmenter=None)

    def step(name: str, hook: Mapping[str, Any], clusters: str, transform: dict) -> LabelStep:
        features = work_dir / hook.get('features', 'features')
        return LabelStep(
            name,
            FeatureSource(**hook['source']),
            features,
            work_dir / clusters,
            labels['label_dataset'],
            transform,
            _threshold(work_dir, labels.get('foreground_threshold', 'otsu'), features),
            training['ignore_index'],
            labels.get('certain_quantiles', CERTAIN_QUANTILES),
        )

    steps = []
    used_dff = Path(labels['source']['config']).parent.name == 'dff_h'
    if used_dff:
        first = _hooks_of(work_dir / 'dff_f')['ClusterHook']
        steps.append(step('k-means', first, first.get('clusters', 'clusters'), coarse))
    name = 'DFF' if used_dff else 'k-means'
    steps.append(step(name, labels, clustering['clusters'], coarse))
    if 'CSDHook' in hooks:
        steps.append(step('CSD', labels, labels['clusters'], coarse))
    if refined.get('segmenter'):
        steps.append(step('SPO', labels, labels['clusters'], refined))
    return steps


def _hooks_of(stage: Path) -> dict[str, Mapping[str, Any]]:
    if not (stage / 'config.py').is_file():
        raise FileNotFoundError(f'{stage}: not finished. Run the recipe first.')
    config = read_own_config(stage / 'config.py')
    return {hook['type']: hook.to_dict() for hook in config.get('custom_hooks') or ()}


def _threshold(work_dir: Path, rule: str | float, features: Path) -> float:
    if rule == 'otsu':
        return otsu_threshold(load_features(features).score_counts)
    return json.loads((work_dir / THRESHOLD / 'threshold.json').read_text())['threshold']
