"""What the clusters hold: sizes, how evenly they are used, and images of every one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from luss_mm.functional.clustering_scores import (
    CLUSTER_COLLAPSE,
    PROTOTYPE_COLLAPSE,
    effective_number,
    has_collapsed,
)
from luss_mm.visualization.report.charts import Chart, bar_chart
from luss_mm.visualization.report.pictures import Picture, PictureFolder
from luss_mm.visualization.report.run_files import shown_path, training_images
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


@dataclass(frozen=True)
class UseRow:
    """How evenly images are spread over clusters or prototypes.

    Attributes:
        name: What was counted.
        total: Of the clusters or prototypes.
        images: Or embeddings, that were counted.
        largest: Share of the largest.
        empty: How many hold nothing.
        effective: Effective number, see `effective_number`.
        alarm: Whether they have collapsed.
    """

    name: str
    total: int
    images: int
    largest: float
    empty: int
    effective: float
    alarm: bool


@dataclass(frozen=True)
class ClusterUse:
    """All counts of the run, with the rule of the alarm in words."""

    clusterings: list[UseRow]
    prototypes: list[UseRow]
    sizes: Chart
    prototype_chart: Chart | None
    final: str
    cluster_rule: str = (
        f'alarm below {CLUSTER_COLLAPSE:.0%} of K effective clusters, or if one is empty'
    )
    prototype_rule: str = f'alarm below {PROTOTYPE_COLLAPSE:.0%} effective prototypes'

    @property
    def alarm(self) -> bool:
        """Whether the final clusters or any prototypes have collapsed."""
        return self.clusterings[-1].alarm or any(row.alarm for row in self.prototypes)


@dataclass(frozen=True)
class Sheet:
    """Images of a cluster that were chosen in one way."""

    title: str
    picture: Picture
    names: list[str]


@dataclass(frozen=True)
class ClusterCard:
    """One cluster.

    Attributes:
        id: Generated id.
        size: Training images.
        dropped: Of them, images that CSD left out when it made the clusters; None without CSD.
        category: Name that the matching gave it, or None.
        sheets: Nearest, farthest and dropped images, as far as there are any.
    """

    id: int
    size: int
    dropped: int | None
    category: str | None
    sheets: list[Sheet] = field(default_factory=list)


def use_of(name: str, counts: np.ndarray, smallest_share: float, may_be_empty: bool) -> UseRow:
    """Describe counts.

    Args:
        name: What was counted.
        counts: Of each cluster. Shape (K,).
        smallest_share: Effective share that raises the alarm.
        may_be_empty: Whether empty ones are no reason for alarm.
    """
    counts, empty = np.asarray(counts), int((np.asarray(counts) == 0).sum())
    return UseRow(
        name,
        len(counts),
        int(counts.sum()),
        float(counts.max() / max(counts.sum(), 1)),
        empty,
        effective_number(counts),
        has_collapsed(counts, smallest_share) or (empty > 0 and not may_be_empty),
    )


def cluster_use(run: RunFolder) -> ClusterUse:
    """Counts of all clusterings, the final one last, and of the prototypes.

    Args:
        run: Of a recipe.
    """
    prototypes = {
        f'{name}, view {view}': np.array(counts)
        for name in run.trainings
        for view, counts in enumerate(run.stage(name).prototype_use(), start=1)
    }
    final = _final_clusters(run)
    earlier = [name for name in run.manifests if name != final and has_clusters(run.path / name)]
    counted = {name: _sizes(load_clusters(run.path / name)) for name in [*earlier, final]}
    return ClusterUse(
        [use_of(name, sizes, CLUSTER_COLLAPSE, False) for name, sizes in counted.items()],
        [use_of(name, counts, PROTOTYPE_COLLAPSE, True) for name, counts in prototypes.items()],
        bar_chart(
            np.sort(counted[final])[::-1],
            f'Sizes of the {len(counted[final])} final clusters',
            'clusters, largest first',
            'training images',
        ),
        _prototype_chart(prototypes),
        final,
    )


def cluster_cards(
    run: RunFolder, category_of: Sequence[str | None] | None, pictures: PictureFolder
) -> list[ClusterCard]:
    """Every final cluster with its images.

    Args:
        run: Of a recipe.
        category_of: Name of the category of each generated id from 0; None without a matching.
        pictures: Gets the sheets.

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
    by_distance = _Members(clusters.assignment, clusters.squared_distances, len(clusters.centroids))
    by_quality = None
    if denoising := load_denoising(folder):
        kept, quality = denoising
        only_dropped = np.where(kept, -1, clusters.assignment)
        by_quality = _Members(only_dropped, quality, len(clusters.centroids))
    return [
        _card(cluster, images, by_distance, by_quality, category_of, pictures)
        for cluster in range(len(clusters.centroids))
    ]


class _Members:
    """Images of each cluster in a rising order."""

    def __init__(self, assignment: np.ndarray, values: np.ndarray, num_clusters: int) -> None:
        self.order = np.lexsort((values, assignment))
        self.starts = np.searchsorted(assignment[self.order], np.arange(num_clusters + 1))

    def __getitem__(self, cluster: int) -> np.ndarray:
        return self.order[self.starts[cluster] : self.starts[cluster + 1]]


def _card(
    cluster: int,
    images: Sequence[Path],
    by_distance: _Members,
    by_quality: _Members | None,
    category_of: Sequence[str | None] | None,
    pictures: PictureFolder,
) -> ClusterCard:
    members = by_distance[cluster]
    dropped = None if by_quality is None else by_quality[cluster]
    chosen = {
        'nearest to the centre': members[:NEAREST],
        'farthest': members[NEAREST:][::-1][:FARTHEST],
        'dropped by CSD, worst first': [] if dropped is None else dropped[:DROPPED],
    }
    sheets = []
    for number, (title, indices) in enumerate(chosen.items()):
        if len(indices):
            shown = [images[i] for i in indices]
            text = f'{len(shown)} images of cluster {cluster + 1}, {title}'
            name = f'cluster-{cluster + 1:04d}-{number}'
            picture = pictures.add_tiles(name, shown, text, COLUMNS, TILE)
            sheets.append(Sheet(title, picture, [shown_path(path) for path in shown]))
    return ClusterCard(
        cluster + 1,
        len(members),
        None if dropped is None else len(dropped),
        None if category_of is None else category_of[cluster + 1],
        sheets,
    )


def _final_clusters(run: RunFolder) -> str:
    """Name of the clusters that pixels were labelled with."""
    name = run.source_of(PSEUDO_LABELS, 'clusters')
    if not has_clusters(run.path / name):
        raise MissingPartError(f'The run has no finished {name}.')
    return name


def _prototype_chart(prototypes: Mapping[str, np.ndarray]) -> Chart | None:
    if not prototypes:
        return None
    name = next(iter(prototypes))
    heights = np.sort(prototypes[name])[::-1]
    return bar_chart(
        heights, f'Use of the prototypes: {name}', 'prototypes, most used first', 'embeddings'
    )


def _sizes(clusters: Clusters) -> np.ndarray:
    return np.bincount(clusters.assignment, minlength=len(clusters.centroids))
