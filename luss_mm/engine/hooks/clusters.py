"""Training images are clustered before a training that uses the clusters."""

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from luss_mm.inference.feature_source import FeatureSource
from luss_mm.pipeline.cluster_features import cluster_features
from luss_mm.work_dir.artifact import read_manifest


@HOOKS.register_module()
class ClusterHook(Hook):
    """Features and k-means, whatever of them is not finished yet.

    Args:
        directory: Gets the folders.
        source: Arguments of `FeatureSource`.
        num_clusters: K.
        kmeans_iterations: Of each restart.
        kmeans_restarts: Number of restarts.
        kmeans_initialization: 'random' or 'k-means++', see `fit_kmeans`.
        kmeans_components: Of the projections that are clustered, or None, see `fit_kmeans`.
        seed: Of k-means.
        features: Name of the folder of features.
        clusters: Name of the folder of clusters.
    """

    priority = 'ABOVE_NORMAL'  # before the hooks that read the clusters

    def __init__(
        self,
        directory: str,
        source: dict[str, Any],
        num_clusters: int,
        kmeans_iterations: int = 20,
        kmeans_restarts: int = 30,
        kmeans_initialization: str = 'random',
        kmeans_components: int | None = None,
        seed: int = 0,
        features: str = 'features',
        clusters: str = 'clusters',
    ) -> None:
        self.source = FeatureSource(**source)
        self.num_clusters = num_clusters
        self.kmeans = dict(
            iterations=kmeans_iterations,
            restarts=kmeans_restarts,
            initialization=kmeans_initialization,
            components=kmeans_components,
            seed=seed,
        )
        self.features = Path(directory, features)
        self.clusters = Path(directory, clusters)

    def check(self) -> None:
        """Refuse, before any stage trains, more clusters than images.

        Raises:
            ValueError: Saying so.
        """
        self.source.check_size(self.num_clusters)

    def before_train(self, runner) -> None:
        """Make features and clusters."""
        cluster_features(
            self.clusters,
            self.source.embed(self.features).embeddings,
            self.num_clusters,
            inputs=dict(features=read_manifest(self.features)['key']),
            **self.kmeans,
        )
