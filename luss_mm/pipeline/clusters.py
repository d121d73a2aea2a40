"""Features to clusters: k-means, and k-means again without noisy samples (CSD)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from luss_mm.functional.kmeans import assign_to_centroids, fit_kmeans, two_nearest_distances
from luss_mm.functional.sample_selection import (
    balance_clusters,
    check_balance,
    check_noise_rule,
    filter_noise,
    sample_quality,
)
from luss_mm.terminal import Progress
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.atomic_files import create_mapped_array
from luss_mm.work_dir.run_folder import (
    Clusters,
    load_clusters,
    write_clusters,
    write_denoising,
    write_summary,
)
from luss_mm.work_dir.stop_request import stop_if_asked


@dataclass(frozen=True)
class KMeans:
    """How k-means is run, see `fit_kmeans`.

    Attributes:
        iterations: Iterations of each restart.
        restarts: Number of restarts.
        initialization: 'random' or 'k-means++'.
        components: Number of principal directions that samples are projected onto, or None.
        neighbours: How many each sample is averaged with, 0 for none.
        seed: Seed of the first restart.
    """

    iterations: int = 20
    restarts: int = 30
    initialization: str = 'random'
    components: int | None = None
    neighbours: int = 0
    seed: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """What an output is keyed by, besides the seed."""
        return {name: value for name, value in asdict(self).items() if name != 'seed'}


def cluster_features(
    directory: str | Path,
    embeddings: np.ndarray,
    num_clusters: int,
    inputs: Mapping[str, Any],
    kmeans: KMeans,
) -> Clusters:
    """k-means on all embeddings, on rank 0.

    Args:
        directory: Directory of the output.
        embeddings: float32, may be memory-mapped. Shape (N, C).
        num_clusters: K.
        inputs: Names to keys: the features.
        kmeans: How.

    Returns:
        The clusters, read back from disk.
    """
    settings = dict(num_clusters=num_clusters, **kmeans.settings)

    def make(unfinished: Path) -> None:
        if is_main_process():
            progress = Progress(f'k-means (K = {num_clusters})', kmeans.restarts)
            result = fit_kmeans(
                embeddings,
                num_clusters,
                **asdict(kmeans),
                progress=lambda done, total: count_restart(progress, done),
            )
            summary = dict(
                objective=result.objective,
                repaired_clusters=result.repaired,
                sizes=np.bincount(result.assignment, minlength=num_clusters).tolist(),
            )
            write_summary(unfinished, summary)
            write_clusters(
                unfinished,
                Clusters(result.centroids, result.assignment, result.squared_distances),
            )

    return load_clusters(produce(directory, make, inputs, settings, seed=kmeans.seed))


def count_restart(progress: Progress, done: int) -> None:
    """Show how far k-means is, and end it if the run was asked to stop.

    Args:
        progress: Over restarts.
        done: Restarts so far.
    """
    progress.advance(done - progress.done)
    if done < progress.total:
        stop_if_asked('k-means begins again, its features are kept')


KEPT_EMBEDDINGS = 'kept_embeddings.npy'  # while k-means runs
COPY_ROWS = 4096  # at C = 2048 34 MB


@dataclass(frozen=True)
class DenoisingRules:
    """Which samples k-means sees again.

    Attributes:
        rule: `margin`, `ratio` or `distance`, see `sample_quality`.
        keep_fraction: Share of all samples that is kept; None if there is a limit.
        limit: Smallest margin or largest ratio or squared distance that is kept, or None.
        cap: Largest cluster in multiples of the median size, or None.
        floor: Smallest cluster in multiples of the median size, or None.

    Raises:
        ValueError: If the rule is unknown, or a value missing, superfluous or out of range.
    """

    rule: str
    keep_fraction: float | None
    limit: float | None
    cap: float | None
    floor: float | None

    def __post_init__(self) -> None:
        check_noise_rule(self.rule, self.keep_fraction, self.limit)
        check_balance(self.cap, self.floor)


def denoise_clusters(
    directory: str | Path,
    embeddings: np.ndarray,
    clusters: Clusters,
    rules: DenoisingRules,
    num_clusters: int,
    inputs: Mapping[str, Any],
    kmeans: KMeans,
) -> Clusters:
    """Cluster again without noisy samples, then assign all samples; on rank 0.

    The output is one that `load_clusters` reads, and holds besides

    - `kept.npy`: which samples took part in the new k-means, bool (N,);
    - `quality.npy`: of each sample in its old cluster, float32 (N,), see `sample_quality`;
    - `summary.json`: the rules and, for every old cluster, its size, the samples that the noise
      filter kept and the cap dropped, those drawn again and the size that k-means saw; the size of
      every new cluster.

    Disk while k-means runs: a copy of the kept rows.

    Args:
        directory: Directory of the output.
        embeddings: Unit rows, float32; may be memory-mapped, they are read by chunks. Shape (N, C).
        clusters: Clusters of all embeddings.
        rules: Which samples are kept.
        num_clusters: K of the new clusters.
        inputs: Names to keys: the features and the clusters.
        kmeans: How, but for `neighbours`; its seed is that of the samples drawn again, too.

    Returns:
        The new clusters with all samples, read back from disk.

    Raises:
        ValueError: If the rules keep too few samples, or a new cluster is empty.
        FloatingPointError: If a new centroid is not finite or longer than 1.

    Source: PDSO, CSD: noise filter, proportions of the categories, k-means 3.
    """
    kmeans = replace(kmeans, neighbours=0)  # a sample drawn again would be its own neighbour
    settings = dict(**asdict(rules), num_clusters=num_clusters, **kmeans.settings)

    def make(unfinished: Path) -> None:
        if is_main_process():
            selection = _select_samples(embeddings, clusters.centroids, rules, kmeans.seed)
            denoised = _cluster_rows(
                unfinished / KEPT_EMBEDDINGS,
                embeddings,
                selection.rows,
                num_clusters,
                kmeans,
            )
            summary = dict(
                rules=asdict(rules),
                **_count(selection, len(clusters.centroids)),
                new_sizes=np.bincount(denoised.assignment, minlength=num_clusters).tolist(),
            )
            print_log(_describe(summary), logger='current')
            write_summary(unfinished, summary)
            write_denoising(unfinished, selection.kept, selection.quality.astype(np.float32))
            write_clusters(unfinished, denoised)

    return load_clusters(produce(directory, make, inputs, settings, seed=kmeans.seed))


def check_clusters(clusters: Clusters) -> None:
    """Refuse clusters that no later step could work with.

    Raises:
        ValueError: If a cluster has no sample.
    """
    sizes = np.bincount(clusters.assignment, minlength=len(clusters.centroids))
    if not sizes.all():
        raise ValueError(
            f'no sample is nearest to centroid {int(sizes.argmin())}, {(sizes == 0).sum()} of '
            f'{len(sizes)} clusters are empty. Set a smaller num_clusters or keep more samples'
        )


@dataclass(frozen=True)
class _Selection:
    """Old cluster, quality, whether the noise filter and then the cap kept it: of each sample (N,).

    `rows` (M,) are the samples that k-means sees, repeats included.
    """

    assignment: np.ndarray
    quality: np.ndarray
    clean: np.ndarray
    kept: np.ndarray
    rows: np.ndarray


def _select_samples(
    embeddings: np.ndarray, centroids: np.ndarray, rules: DenoisingRules, seed: int
) -> _Selection:
    assignment, d1, d2 = two_nearest_distances(embeddings, centroids)
    quality = sample_quality(d1, d2, rules.rule)
    clean = filter_noise(d1, d2, rules.rule, rules.keep_fraction, rules.limit)
    rows = balance_clusters(
        assignment, quality, clean, len(centroids), rules.cap, rules.floor, seed
    )
    kept = np.zeros(len(embeddings), dtype=bool)
    kept[rows] = True
    return _Selection(assignment, quality, clean, kept, rows)


def _cluster_rows(
    path: Path,
    embeddings: np.ndarray,
    rows: np.ndarray,
    num_clusters: int,
    kmeans: KMeans,
) -> Clusters:
    """k-means on some rows, which need a file of their own, then assignment of all."""
    num_different = len(np.unique(rows))
    if num_different < num_clusters:
        raise ValueError(
            f'{num_different} of {len(embeddings)} samples are kept, which cannot form '
            f'{num_clusters} clusters: keep more of them'
        )
    progress = Progress(f'k-means on kept samples (K = {num_clusters})', kmeans.restarts)
    try:
        result = fit_kmeans(
            _copy_rows(path, embeddings, rows),
            num_clusters,
            **asdict(kmeans),
            progress=lambda done, total: count_restart(progress, done),
        )
    finally:
        path.unlink(missing_ok=True)
    clusters = Clusters(result.centroids, *assign_to_centroids(embeddings, result.centroids))
    check_clusters(clusters)
    return clusters


def _copy_rows(path: Path, embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Memory-mapped copy of some rows, made a chunk at a time."""
    copy = create_mapped_array(path, (len(rows), embeddings.shape[1]))
    for start in range(0, len(rows), COPY_ROWS):
        chunk = slice(start, start + COPY_ROWS)
        copy[chunk] = embeddings[rows[chunk]]
    copy.flush()
    return copy


def _count(selection: _Selection, num_clusters: int) -> dict[str, Any]:
    """Samples of every old cluster after each step."""
    total, after_filter, after_cap, balanced = (
        np.bincount(selection.assignment[chosen], minlength=num_clusters)
        for chosen in (slice(None), selection.clean, selection.kept, selection.rows)
    )
    return dict(
        samples=len(selection.kept),
        kept_samples=int(selection.kept.sum()),
        old_sizes=total.tolist(),
        kept=after_cap.tolist(),
        dropped=(total - after_cap).tolist(),
        kept_by_filter=after_filter.tolist(),
        dropped_by_cap=(after_filter - after_cap).tolist(),
        resampled=(balanced - after_cap).tolist(),
        balanced_sizes=balanced.tolist(),
        clusters_without_samples=np.flatnonzero(balanced == 0).tolist(),
    )


def _describe(summary: Mapping[str, Any]) -> str:
    text = (
        f'denoising by {summary["rules"]["rule"]}: k-means sees {summary["kept_samples"]} of '
        f'{summary["samples"]} samples ({sum(summary["kept_by_filter"])} pass the noise filter, '
        f'{sum(summary["dropped_by_cap"])} of them are above the cap), '
        f'{sum(summary["resampled"])} drawn again'
    )
    if empty := summary['clusters_without_samples']:
        listed = ', '.join(str(cluster + 1) for cluster in empty[:20])
        more = ' ...' if len(empty) > 20 else ''
        text += f'. {len(empty)} clusters keep no sample: {listed}{more}'
    return text
