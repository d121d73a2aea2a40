"""Clustering-based sample denoising (CSD): clusters are made anew without noisy samples."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmseg.registry import DATASETS, HOOKS

from luss_mm.datasets.image_entries import ImagePaths
from luss_mm.engine.decoration import decoration
from luss_mm.engine.hooks.clusters import ClusterHook
from luss_mm.pipeline.cluster_features import load_clusters
from luss_mm.pipeline.denoise_clusters import KEPT, QUALITY, DenoisingRules, denoise_clusters
from luss_mm.pipeline.extract_features import load_features
from luss_mm.visualization.dropped_samples import save_dropped_sheets
from luss_mm.work_dir.artifact import produce, read_manifest


@HOOKS.register_module()
class CSDHook(ClusterHook):
    """Features, k-means, and k-means on the samples that clearly belong to a cluster.

    Whatever of them is not finished yet is made. Sheets of the images that were dropped go into
    `<directory>/pictures/dropped`.

    Args:
        directory: Gets the folders.
        source: Arguments of `FeatureSource`.
        num_clusters: K, before and after.
        rule: `margin`, `ratio` or `distance`, see `sample_quality`.
        keep_fraction: Share of all samples that the rule keeps; None with a limit.
        limit: Smallest margin, or largest ratio or squared distance that is kept, or None.
        cap: Largest cluster in multiples of the median size, or None; not published.
        floor: Smallest cluster in multiples of the median size, filled by drawing its samples
            again, or None; not published.
        kmeans_iterations: Of each restart.
        kmeans_restarts: Number of restarts.
        kmeans_initialization: 'random' or 'k-means++', see `fit_kmeans`.
        kmeans_components: Of the projections that are clustered, or None, see `fit_kmeans`.
        seed: Of k-means and of the samples drawn again.
        features: Name of the folder of features.
        clusters: Name of the folder of the clusters of all samples.
        denoised: Name of the folder of the clusters without noisy samples.
        images_per_cluster: Dropped images shown of each cluster.

    Source: PDSO, CSD; `keep_fraction` from the authors' published ImageNet-S50 clustering.
    """

    def __init__(
        self,
        directory: str,
        source: dict[str, Any],
        num_clusters: int,
        rule: str = 'margin',
        keep_fraction: float | None = 0.665,
        limit: float | None = None,
        cap: float | None = 2.0,
        floor: float | None = 0.5,
        kmeans_iterations: int = 20,
        kmeans_restarts: int = 30,
        kmeans_initialization: str = 'random',
        kmeans_components: int | None = None,
        seed: int = 0,
        features: str = 'dff_features',
        clusters: str = 'dff_clusters',
        denoised: str = 'csd_clusters',
        images_per_cluster: int = 24,
    ) -> None:
        super().__init__(
            directory,
            source,
            num_clusters,
            kmeans_iterations,
            kmeans_restarts,
            kmeans_initialization,
            kmeans_components,
            seed,
            features,
            clusters,
        )
        self.rules = dict(rule=rule, keep_fraction=keep_fraction, limit=limit, cap=cap, floor=floor)
        self.denoised = Path(directory, denoised)
        self.pictures = Path(directory, 'pictures', 'dropped')
        self.images_per_cluster = images_per_cluster

    def check(self) -> None:
        """Refuse, before any stage trains, rules that cannot work or that keep too few images.

        Raises:
            ValueError: Naming the argument and the mend.
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

    def before_train(self, runner) -> None:
        """Make features, clusters, denoised clusters and pictures."""
        super().before_train(runner)
        denoise_clusters(
            self.denoised,
            load_features(self.features).embeddings,
            load_clusters(self.clusters),
            DenoisingRules(**self.rules),
            self.num_clusters,
            inputs=dict(
                features=read_manifest(self.features)['key'],
                clusters=read_manifest(self.clusters)['key'],
            ),
            **self.kmeans,
        )
        produce(
            self.pictures,
            self._draw,
            inputs=dict(denoised=read_manifest(self.denoised)['key']),
            settings=dict(images_per_cluster=self.images_per_cluster),
        )

    def _draw(self, unfinished: Path) -> None:
        if not is_main_process():
            return
        with decoration(f'pictures in {self.pictures}'):
            save_dropped_sheets(
                unfinished,
                ImagePaths(DATASETS.build(self.source.dataset)),
                load_clusters(self.clusters).assignment,
                np.load(self.denoised / KEPT),
                np.load(self.denoised / QUALITY),
                self.rules['rule'],
                self.images_per_cluster,
            )
