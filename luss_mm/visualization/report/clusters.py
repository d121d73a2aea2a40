"""What the clusters hold: sizes, how evenly they are used, and images of every one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luss_mm.functional.clustering_scores import (
    CLUSTER_COLLAPSE,
    PROTOTYPE_COLLAPSE,
    effective_number,
    has_collapsed,
)
from luss_mm.visualization.curves import bar_chart
from luss_mm.visualization.report.images import PictureFolder, shown_path, training_images
from luss_mm.visualization.run_pictures import cluster_members
from luss_mm.work_dir.run_folder import (
    PSEUDO_LABELS,
    Clusters,
    MissingPartError,
    RunFolder,
    has_clusters,
    load_clusters,
    load_denoising,
)

NEAREST, FARTHEST, DROPPED = 12, 6, 6  # images shown of each cluster
COLUMNS, TILE = 6, 80


def use_of(name: str, counts: np.ndarray, smallest_share: float, may_be_empty: bool) -> dict:
    """How evenly images are spread over clusters or prototypes.

    Args:
        name: What was counted.
        counts: Of each cluster. Shape (K,).
        smallest_share: Effective share that raises the alarm.
        may_be_empty: Whether empty ones are no reason for alarm.

    Returns:
        The `name`, how many there are (`total`), the `images` that were counted, the share of the
        `largest`, how many are `empty`, the `effective` number, and whether they have collapsed
        (`alarm`).
    """
    empty = int((counts == 0).sum())
    return dict(
        name=name,
        total=len(counts),
        images=int(counts.sum()),
        largest=float(counts.max() / max(counts.sum(), 1)),
        empty=empty,
        effective=effective_number(counts),
        alarm=has_collapsed(counts, smallest_share) or (empty > 0 and not may_be_empty),
    )


def cluster_use(run: RunFolder) -> dict[str, Any]:
    """Counts of all clusterings, the final one last, and of the prototypes, with their rules.

    `alarm` is whether the final clusters or any prototypes have collapsed.

    Args:
        run: Of a recipe.
    """
    counts = {
        f'{name}, view {view}': np.array(counts)
        for name in run.trainings
        for view, counts in enumerate(run.stage(name).prototype_use(), start=1)
    }
    final = _final_clusters(run)
    earlier = [name for name in run.manifests if name != final and has_clusters(run.path / name)]
    sizes = {name: _sizes(load_clusters(run.path / name)) for name in [*earlier, final]}
    clusterings = [use_of(name, s, CLUSTER_COLLAPSE, False) for name, s in sizes.items()]
    prototypes = [use_of(name, c, PROTOTYPE_COLLAPSE, True) for name, c in counts.items()]
    charts = [
        bar_chart(
            np.sort(counts[name])[::-1],
            f'Use of the prototypes: {name}',
            'prototypes, most used first',
            'embeddings',
        )
        for name in list(counts)[:1]
    ]
    return dict(
        clusterings=clusterings,
        prototypes=prototypes,
        sizes=bar_chart(
            np.sort(sizes[final])[::-1],
            f'Sizes of the {len(sizes[final])} final clusters',
            'clusters, largest first',
            'training images',
        ),
        prototype_chart=next(iter(charts), None),
        final=final,
        cluster_rule=(
            f'alarm below {CLUSTER_COLLAPSE:.0%} of K effective clusters, or if one is empty'
        ),
        prototype_rule=f'alarm below {PROTOTYPE_COLLAPSE:.0%} effective prototypes',
        alarm=any(row['alarm'] for row in [clusterings[-1], *prototypes]),
    )


def cluster_cards(
    run: RunFolder, category_of: Sequence[str | None] | None, pictures: PictureFolder
) -> list[dict[str, Any]]:
    """Every final cluster with its images.

    Args:
        run: Of a recipe.
        category_of: Name of the category of each generated id from 0; None without a matching.
        pictures: Gets the sheets.

    Returns:
        Of each cluster its generated `id`, its `size` in training images, how many of them CSD has
        `dropped` when it made the clusters (None without CSD), the `category` that the matching
        gave it, or None, and `sheets` of the nearest, farthest and dropped images, as far as there
        are any: `title`, `picture` and `names`.

    Raises:
        MissingPartError: If the run has no clusters, or the training images are gone or changed.
    """
    folder = run.path / _final_clusters(run)
    clusters = load_clusters(folder)
    images = training_images(run)
    if len(images) != len(clusters.assignment):
        raise MissingPartError(
            f'The clusters were made of {len(clusters.assignment)} training images; there are '
            f'{len(images)} now.'
        )
    num_clusters = len(clusters.centroids)
    by_distance = cluster_members(clusters.assignment, clusters.squared_distances, num_clusters)
    dropped = [None] * num_clusters
    if denoising := load_denoising(folder):
        kept, quality = denoising
        only_dropped = np.where(kept, -1, clusters.assignment)
        dropped = cluster_members(only_dropped, quality, num_clusters)
    return [
        dict(
            id=number,
            size=len(members),
            dropped=None if lost is None else len(lost),
            category=None if category_of is None else category_of[number],
            sheets=_sheets(number, images, members, lost, pictures),
        )
        for number, (members, lost) in enumerate(zip(by_distance, dropped, strict=True), start=1)
    ]


def _sheets(
    number: int,
    images: Sequence[Path],
    members: np.ndarray,
    dropped: np.ndarray | None,
    pictures: PictureFolder,
) -> list[dict[str, Any]]:
    chosen = {
        'nearest to the centre': members[:NEAREST],
        'farthest': members[NEAREST:][::-1][:FARTHEST],
        'dropped by CSD, worst first': [] if dropped is None else dropped[:DROPPED],
    }
    sheets = []
    for kind, (title, indices) in enumerate(chosen.items()):
        if len(indices):
            shown = [images[i] for i in indices]
            text = f'{len(shown)} images of cluster {number}, {title}'
            picture = pictures.add_tiles(f'cluster-{number:04d}-{kind}', shown, text, COLUMNS, TILE)
            names = [shown_path(path) for path in shown]
            sheets.append(dict(title=title, picture=picture, names=names))
    return sheets


def _final_clusters(run: RunFolder) -> str:
    """Name of the clusters that pixels were labelled with."""
    name = run.source_of(PSEUDO_LABELS, 'clusters')
    if not has_clusters(run.path / name):
        raise MissingPartError(f'The run has no finished {name}.')
    return name


def _sizes(clusters: Clusters) -> np.ndarray:
    return np.bincount(clusters.assignment, minlength=len(clusters.centroids))
