"""The steps between trainings, by name: what each reads and makes, listed and run without a hook.

    maps       the backbone's maps of the training images, where they are kept
    features   one embedding an image, and the histogram of foreground scores
    clusters   k-means of the embeddings
    denoised   k-means again, of the samples that clearly belong to a cluster (CSD)
    threshold  which foreground scores count as object
    labels     one label map an image
    scores     loss and label of every image under a classifier that was just trained (DFF)

Hooks run them before (`scores`: after) a training, in the order in which a stage lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmseg.registry import DATASETS, TRANSFORMS
from torch import nn

from luss_mm.datasets.image_index import ImagePaths
from luss_mm.inference.feature_source import FeatureSource
from luss_mm.pipeline.clusters import DenoisingRules, KMeans, cluster_features, denoise_clusters
from luss_mm.pipeline.features import ScoringRule, score_images
from luss_mm.pipeline.generate_labels import (
    CERTAIN_QUANTILES,
    PixelLabeller,
    ThresholdRule,
    choose_threshold,
    generate_labels,
)
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.step import Step
from luss_mm.visualization.run_pictures import decoration, save_cluster_sheets
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.manifest import read_manifest
from luss_mm.work_dir.run_folder import (
    StageFolder,
    load_clusters,
    load_denoising,
    load_features,
    load_threshold,
)


@dataclass(frozen=True)
class MapsStep(Step):
    """Computes the maps of a frozen backbone once."""

    source: FeatureSource
    name = 'maps'

    @property
    def makes(self) -> Path:
        """Folder of maps."""
        return Path(self.source.maps)

    def run(self) -> None:
        """Compute the maps of the training images."""
        self.source.cache_maps()


@dataclass(frozen=True)
class FeaturesStep(Step):
    """Embeds every training image."""

    source: FeatureSource
    makes: Path
    name = 'features'

    def run(self) -> None:
        """Embed."""
        self.source.embed(self.makes)


@dataclass(frozen=True)
class ClustersStep(Step):
    """Clusters the embeddings of the training images.

    Attributes:
        features: Finished features.
        makes: Folder of clusters.
        num_clusters: K.
        kmeans: How.
    """

    source: FeatureSource
    features: Path
    makes: Path
    num_clusters: int
    kmeans: KMeans
    name = 'clusters'

    @property
    def reads(self) -> tuple[Path, ...]:
        """The features."""
        return (self.features,)

    def check(self) -> None:
        """Refuse more clusters than images.

        Raises:
            ValueError: If there are more.
        """
        self.source.check_size(self.num_clusters)

    def run(self) -> None:
        """Cluster."""
        cluster_features(
            self.makes,
            load_features(self.features).embeddings,
            self.num_clusters,
            inputs=_keys(features=self.features),
            kmeans=self.kmeans,
        )


@dataclass(frozen=True)
class DenoisedStep(Step):
    """Clusters the samples that clearly belong to a cluster, and draws those that were dropped.

    Attributes:
        features: Finished features.
        clusters: Finished clusters of all samples.
        makes: Folder of the new clusters.
        num_clusters: K, before and after.
        rules: Arguments of `DenoisingRules`.
        kmeans: How.
        pictures: Folder of the sheets.
        images_per_cluster: Dropped images shown of each cluster.
    """

    source: FeatureSource
    features: Path
    clusters: Path
    makes: Path
    num_clusters: int
    rules: Mapping[str, Any]
    kmeans: KMeans
    pictures: Path
    images_per_cluster: int = 24
    name = 'denoised'

    @property
    def reads(self) -> tuple[Path, ...]:
        """Features and clusters."""
        return self.features, self.clusters

    def check(self) -> None:
        """Refuse rules that cannot work or that keep too few images.

        Raises:
            ValueError: Naming the argument and the fix.
        """
        rules = DenoisingRules(**self.rules)
        images = len(DATASETS.build(self.source.dataset))
        kept = images if rules.keep_fraction is None else round(rules.keep_fraction * images)
        if kept < self.num_clusters:
            raise ValueError(
                f'{kept} of {images} training images are kept at most, which cannot form '
                f'{self.num_clusters} clusters. Raise keep_fraction or set a smaller '
                'num_categories.'
            )

    def run(self) -> None:
        """Filter, cluster and draw."""
        denoise_clusters(
            self.makes,
            load_features(self.features).embeddings,
            load_clusters(self.clusters),
            DenoisingRules(**self.rules),
            self.num_clusters,
            inputs=_keys(features=self.features, clusters=self.clusters),
            kmeans=self.kmeans,
        )
        produce(
            self.pictures,
            self._draw,
            inputs=_keys(denoised=self.makes),
            settings=dict(images_per_cluster=self.images_per_cluster),
        )

    def _draw(self, unfinished: Path) -> None:
        if not is_main_process():
            return
        with decoration(f'pictures in {self.pictures}'):
            kept, quality = load_denoising(self.makes)
            save_cluster_sheets(
                unfinished,
                ImagePaths(DATASETS.build(self.source.dataset)),
                load_clusters(self.clusters).assignment,
                quality,
                self.num_clusters,
                self.rules['rule'],
                kept,
                self.images_per_cluster,
            )


@dataclass(frozen=True)
class ThresholdStep(Step):
    """Chooses the foreground threshold.

    Attributes:
        features: Finished features of the training images.
        clusters: Finished clusters of these features; the sweep alone looks at them.
        makes: Folder of the threshold.
        rule: See `ThresholdRule`.
        sweep_dataset: Config of the validation images with masks; the sweep alone reads them.
        certain_quantiles: See `ThresholdRule`.
    """

    source: FeatureSource
    features: Path
    clusters: Path
    makes: Path
    rule: str | float = 'otsu'
    sweep_dataset: Mapping[str, Any] | None = None
    certain_quantiles: tuple[float, float] = CERTAIN_QUANTILES
    name = 'threshold'

    @property
    def reads(self) -> tuple[Path, ...]:
        """Features and clusters."""
        return self.features, self.clusters

    def check(self) -> None:
        """Refuse an unknown rule.

        Raises:
            ValueError: If there is no such rule.
        """
        self._rule()

    def run(self) -> None:
        """Choose."""
        rule = self._rule()
        inputs = dict(
            model=self.source.model_key,
            **_keys(features=self.features, clusters=self.clusters),
        )
        if rule.sweep_batches is not None:
            inputs['images'] = rule.sweep_batches.dataset.fingerprint()
            inputs['transforms'] = self.sweep_dataset['pipeline']
        choose_threshold(
            self.makes,
            rule,
            self.source.model if rule.sweep_batches is not None else None,
            load_features(self.features).score_counts,
            load_clusters(self.clusters).centroids,
            inputs=inputs,
            device=get_device(),
        )

    def _rule(self) -> ThresholdRule:
        sweep = self.rule == 'validation_sweep'
        batches = self.source.batches(self.sweep_dataset) if sweep else None
        return ThresholdRule(self.rule, batches, self.certain_quantiles)


@dataclass(frozen=True)
class LabelsStep(Step):
    """Makes one label map an image.

    Attributes:
        features: Finished features of the training images.
        clusters: Finished clusters of these features.
        threshold: Finished threshold.
        makes: Folder of label maps.
        dataset: Config of the whole training images.
        transform: Config of `GeneratePseudoLabel`.
    """

    source: FeatureSource
    features: Path
    clusters: Path
    threshold: Path
    makes: Path
    dataset: Mapping[str, Any]
    transform: Mapping[str, Any]
    name = 'labels'

    @property
    def reads(self) -> tuple[Path, ...]:
        """Features, clusters and threshold."""
        return self.features, self.clusters, self.threshold

    def check(self) -> None:
        """Refuse unknown prompts, and a segmenter that cannot work, as without its checkpoint.

        Raises:
            ValueError: Naming the argument and the fix.
        """
        TRANSFORMS.build(dict(self.transform)).check()

    def run(self) -> None:
        """Label."""
        choice = load_threshold(self.threshold)
        self.label(self.makes, choice.threshold, choice.certain_scores, choice.used_ground_truth)

    def label(
        self,
        directory: Path,
        threshold: float,
        certain_scores: tuple[float, float],
        used_ground_truth: tuple[str, ...] = (),
    ) -> Path:
        """Label the images with a given threshold.

        Args:
            directory: Directory of the label maps.
            threshold: Threshold of the foreground score.
            certain_scores: See `PixelLabeller`.
            used_ground_truth: By the threshold.

        Returns:
            The directory.
        """
        batches = self.source.batches(self.dataset)
        labeller = PixelLabeller(
            self.source.model,
            load_clusters(self.clusters).centroids,
            threshold,
            TRANSFORMS.build(dict(self.transform)),
            certain_scores,
        )
        return generate_labels(
            directory,
            labeller,
            batches,
            load_features(self.features).embeddings,
            inputs=dict(
                model=self.source.model_key,
                **_keys(features=self.features, clusters=self.clusters),
                images=batches.dataset.fingerprint(),
            ),
            settings=self.source.loading_settings(self.dataset),
            used_ground_truth=used_ground_truth,
        )


@dataclass(frozen=True)
class ScoresStep:
    """Scores every training image under the classifier that a stage has just trained.

    Attributes:
        dataset: Config of a `ClassLabelDataset`, without augmentation.
        rule: Which labels and losses.
        batching: Arguments of `ShardedBatches`.
    """

    dataset: Mapping[str, Any]
    rule: ScoringRule
    batching: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = 'scores'

    def run(self, stage: str | Path, model: nn.Module) -> None:
        """Score all images once, over all ranks.

        Args:
            stage: Folder of the stage, which gets the scores.
            model: The trained classifier.
        """
        batches = ShardedBatches(DATASETS.build(dict(self.dataset)), **self.batching)
        score_images(
            StageFolder(stage).image_scores,
            model,
            batches,
            self.rule,
            inputs=dict(images=batches.dataset.fingerprint()),
            device=get_device(),
        )


def _keys(**outputs: Path) -> dict[str, str]:
    """Keys of finished outputs, by which what is made from them knows them."""
    return {name: read_manifest(output)['key'] for name, output in outputs.items()}
