"""Features to clusters: centroids and the assignment of every image."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process

from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.terminal import Progress
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.atomic_files import write_array, write_atomically
from luss_mm.work_dir.stop_request import stop_if_asked


@dataclass(frozen=True)
class Clusters:
    """Finished clusters.

    Attributes:
        centroids: float32 (K, C).
        assignment: Cluster of each image, int32 (N,).
        squared_distances: Of each image to its centroid, float32 (N,).
    """

    centroids: np.ndarray
    assignment: np.ndarray
    squared_distances: np.ndarray


def cluster_features(
    directory: str | Path,
    embeddings: np.ndarray,
    num_clusters: int,
    inputs: Mapping[str, Any],
    *,
    iterations: int = 20,
    restarts: int = 30,
    initialization: str = 'random',
    components: int | None = None,
    seed: int = 0,
) -> Clusters:
    """k-means on all embeddings, on rank 0.

    Args:
        directory: Of the output.
        embeddings: float32, may be memory-mapped. Shape (N, C).
        num_clusters: K.
        inputs: Names to keys: the features.
        iterations: Of each restart.
        restarts: The one with the least distortion counts.
        initialization: Of each restart, see `fit_kmeans`.
        components: Of the projections that are clustered, see `fit_kmeans`.
        seed: Of the first restart.

    Returns:
        The clusters, read back from disk.
    """
    settings = dict(
        num_clusters=num_clusters,
        iterations=iterations,
        restarts=restarts,
        initialization=initialization,
        components=components,
    )

    def make(unfinished: Path) -> None:
        if is_main_process():
            progress = Progress(f'k-means (K = {num_clusters})', restarts)
            result = fit_kmeans(
                embeddings,
                num_clusters,
                iterations=iterations,
                restarts=restarts,
                initialization=initialization,
                components=components,
                seed=seed,
                progress=lambda done, total: count_restart(progress, done),
            )
            summary = dict(
                objective=result.objective,
                repaired_clusters=result.repaired,
                sizes=np.bincount(result.assignment, minlength=num_clusters).tolist(),
            )
            write_atomically(unfinished / 'summary.json', json.dumps(summary, indent=2).encode())
            write_clusters(
                unfinished,
                Clusters(result.centroids, result.assignment, result.squared_distances),
            )

    return load_clusters(produce(directory, make, inputs, settings, seed=seed))


def count_restart(progress: Progress, done: int) -> None:
    """Show how far k-means is, and end it if the run was asked to stop.

    Args:
        progress: Over restarts.
        done: Restarts so far.
    """
    progress.advance(done - progress.done)
    if done < progress.total:
        stop_if_asked('k-means begins anew, its features are kept')


def write_clusters(directory: Path, clusters: Clusters) -> None:
    """Write what `load_clusters` reads."""
    for field in fields(Clusters):
        write_array(directory / f'{field.name}.npy', getattr(clusters, field.name))


def load_clusters(directory: str | Path) -> Clusters:
    """Read finished clusters."""
    return Clusters(*(np.load(Path(directory, f'{field.name}.npy')) for field in fields(Clusters)))
