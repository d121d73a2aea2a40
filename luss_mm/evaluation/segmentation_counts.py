"""The sums over images that every figure of a segmentation follows from, and the figures."""

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dist import all_gather_object
from torch import Tensor

from luss_mm.functional.image_tally import ImageTally
from luss_mm.functional.ranks import sum_over_ranks
from luss_mm.functional.scores import (
    SIZE_NAMES,
    iou_per_class,
    matched_counts,
    mean_over_present,
    rename_rows,
    size_members,
)

# F-beta is summed in whole units of 2^-40: integers add up to the same sum in any order, so that
# any number of ranks gives the figures of one. int64 has room for 8 million images.
F_BETA_UNIT = 2**40
NUM_SELECTIONS = 1 + len(SIZE_NAMES)  # all pixels, then those of each size bucket
AXES = dict(  # of each count; see SegmentationCounts
    joint=('selection', 'cluster', 'category'),
    band_joint=('selection', 'cluster', 'category'),
    band_predicted=('selection', 'cluster'),
    band_true=('selection', 'category'),
    presence=('cluster', 'category'),
    dominant=('cluster', 'category'),
    f_beta=(),
    images=(),
    images_without_mask=(),
)


class OpenDominance(NamedTuple):
    """An image whose dominant category depends on the match; see `dominance_is_open`.

    Attributes:
        clusters: Foreground clusters of the prediction, int64. Shape (p,).
        areas: Their pixels, int64. Shape (p,).
        categories: Category ids in the mask, int64. Shape (q,).
    """

    clusters: np.ndarray
    areas: np.ndarray
    categories: np.ndarray


class CountEntries(NamedTuple):
    """What images add to `SegmentationCounts`: small, additive, and fit to send between processes.

    Attributes:
        positions: Into `SegmentationCounts.values`, repeats allowed, int64. Shape (n,).
        amounts: To add there, int64. Shape (n,).
        open_images: Images whose dominant category depends on the match.
    """

    positions: Tensor
    amounts: Tensor
    open_images: list[OpenDominance]


class CountLayout:
    """Where each count lies in the one vector of `SegmentationCounts`.

    Args:
        num_clusters: G, generated ids without "others".
        num_categories: C, categories without "others".
        many_to_one: Whether the match may give several clusters the same id.
        background: 0 if id 0 is "others". None if every id is a cluster or a category: they are
            then counted one place later, and the place of "others" stays empty.
    """

    def __init__(
        self,
        num_clusters: int,
        num_categories: int,
        many_to_one: bool = False,
        background: int | None = 0,
    ) -> None:
        self.num_clusters = num_clusters
        self.num_categories = num_categories
        self.many_to_one = many_to_one
        self.background = background
        lengths = dict(
            selection=NUM_SELECTIONS, cluster=num_clusters + 1, category=num_categories + 1
        )
        self.shapes = {name: tuple(lengths[axis] for axis in axes) for name, axes in AXES.items()}
        ends = np.cumsum([prod(shape) for shape in self.shapes.values()])
        self.starts = dict(zip(self.shapes, [0, *ends[:-1].tolist()], strict=True))
        self.length = int(ends[-1])

    def view(self, values: Tensor, name: str) -> Tensor:
        """One of the counts as a view of the vector of all."""
        shape = self.shapes[name]
        return values[self.starts[name] :][: prod(shape)].view(shape)

    def entries(self, tally: ImageTally, mapping: np.ndarray | None = None) -> CountEntries:
        """What one image adds.

        Args:
            tally: Its pixel counts.
            mapping: New id of each generated id, of `given_mapping`, for counts by category id.

        Returns:
            Entries on the device of the tally.
        """
        if self.background is None:
            tally = tally.with_background()
        if mapping is not None:
            tally = tally.renamed(torch.as_tensor(mapping, device=tally.clusters.device))
        clusters, categories, pixels = tally
        areas = pixels.sum(dim=(0, 1, 3))  # (q,)
        everything = torch.ones_like(categories, dtype=torch.bool)[None]
        selected = torch.cat([everything, size_members(categories, areas)]).long()  # (5, q)
        in_band = pixels[:, 1].sum(dim=2)  # (p, q)
        is_open = tally.dominance_is_open(self.many_to_one)
        dominant = tally.dominant_cluster() & (not is_open)
        counts = dict(
            joint=tally.joint() * selected[:, None],  # (5, p, q)
            band_joint=pixels[:, 1, :, 1] * selected[:, None],  # (5, p, q)
            band_predicted=(in_band * selected[:, None]).sum(dim=2),  # (5, p)
            band_true=pixels[..., 1].sum(dim=(0, 1)) * selected,  # (5, q)
            presence=tally.cluster_presence()[:, None].expand(in_band.shape),
            dominant=dominant[:, None].expand(in_band.shape),
            f_beta=(tally.f_beta() * F_BETA_UNIT).round(),
            images=areas.new_ones(()),
        )
        selections = torch.arange(NUM_SELECTIONS, device=clusters.device)
        indices = dict(selection=selections, cluster=clusters, category=categories)
        positions = [self._positions(name, indices) for name in counts]
        amounts = [count.flatten().long() for count in counts.values()]
        return CountEntries(
            torch.cat(positions),
            torch.cat(amounts),
            [_open_dominance(tally)] if is_open else [],
        )

    def _positions(self, name: str, indices: dict[str, Tensor]) -> Tensor:
        """Positions of an image's part of a count, given by its indices along each axis. (n,)."""
        positions = torch.full((1,), self.starts[name], device=indices['cluster'].device)
        shape = self.shapes[name]
        for number, axis in enumerate(AXES[name], start=1):
            stride = prod(shape[number:])
            positions = (positions[:, None] + indices[axis] * stride).flatten()
        return positions


class SegmentationCounts:
    """Additive int64 counts of a data set by generated id (rows) and category id (columns).

    They are views of one vector, so that one all-reduce adds all of them over ranks. The vector
    does not grow with the number of images: G = C = 919 takes 81 MB, G = 3000 266 MB. Images whose
    dominant category depends on the match are kept apart, a kilobyte or two each: those with a tie
    between the largest clusters, and with a many-to-one match those without a clear winner.

    An axis of length 5 is over all pixels, then those of each size bucket (`size_members`).

    Attributes:
        joint: Pixels of each pair. Shape (5, G + 1, C + 1).
        band_joint: Pixels of each pair that are in both boundary bands. Shape (5, G + 1, C + 1).
        band_predicted: Pixels in the predictions' bands. Shape (5, G + 1).
        band_true: Pixels in the masks' bands. Shape (5, C + 1).
        presence: Images in which both occur. Shape (G + 1, C + 1).
        dominant: Images in which the category occurs and the id is the foreground id with most
            predicted pixels. Shape (G + 1, C + 1).
        f_beta: Sum of the images' F-beta in units of 1 / F_BETA_UNIT. Shape ().
        images: Number of images with a mask. Shape ().
        images_without_mask: Number of images that were only predicted. Shape ().
    """

    def __init__(
        self,
        layout: CountLayout,
        device: torch.device | str = 'cpu',
        values: Tensor | None = None,
    ) -> None:
        """Start from zero, or from given counts.

        Args:
            layout: Numbers of ids.
            device: Where counts from zero live.
            values: The vector of all counts, taken as it is, int64. Shape (layout.length,).
        """
        self.layout = layout
        if values is None:
            values = torch.zeros(layout.length, dtype=torch.int64, device=device)
        self.values = values
        (
            self.joint,
            self.band_joint,
            self.band_predicted,
            self.band_true,
            self.presence,
            self.dominant,
            self.f_beta,
            self.images,
            self.images_without_mask,
        ) = (layout.view(self.values, name) for name in AXES)
        self.open_images: list[OpenDominance] = []

    def add(self, entries: CountEntries) -> None:
        """Add images.

        Args:
            entries: Entries from `CountLayout.entries`, on the device of these counts.
        """
        self.values.index_add_(0, entries.positions, entries.amounts)
        self.open_images += entries.open_images

    def summed_over_ranks(self, device: torch.device | str) -> 'SegmentationCounts':
        """The counts of all ranks together.

        Args:
            device: One that the process group can communicate from.

        Returns:
            New counts on the CPU, the same on every rank.
        """
        values = sum_over_ranks(self.values.to(device)).cpu()
        summed = SegmentationCounts(self.layout, values=values)
        summed.open_images = sum(all_gather_object(self.open_images), [])
        return summed


def _open_dominance(tally: ImageTally) -> OpenDominance:
    areas = tally.cluster_areas()
    kept = areas > 0
    parts = tally.clusters[kept], areas[kept], tally.categories
    # Copies: arrays that share a tensor's memory would keep the tensor, and with it some kilobytes.
    return OpenDominance(*(part.cpu().numpy().copy() for part in parts))


@dataclass(frozen=True)
class MatchedScores:
    """Scores after matching, as shares in [0, 1].

    Attributes:
        mapping: Category id of each generated id, unmatched ones C + 1, int64. Shape (G + 1,);
            without background G ids, of which unmatched ones are C.
        iou: IoU of each class, float64. Shape (C + 1,); without background (C,), and NaN for a
            class that neither masks nor predictions contain.
        boundary_iou: IoU of each class's boundary band, the same shape.
        size_iou: Mean IoU of each size bucket by its name, over the classes that it holds; None
            where it holds no instance.
        size_boundary_iou: The same of the boundary bands.
        size_classes: How many classes, "others" included, each of those means is over.
        image_accuracy: Share of images whose dominant category occurs in their mask.
        f_beta: Mean F-beta of foreground against background; None without background.
        pixel_accuracy: Share of pixels whose matched id is their true one; None with a background,
            which decides it.
        num_images: Number of images.
    """

    mapping: np.ndarray
    iou: Tensor
    boundary_iou: Tensor
    size_iou: dict[str, float | None]
    size_boundary_iou: dict[str, float | None]
    size_classes: dict[str, int]
    image_accuracy: float
    f_beta: float | None
    pixel_accuracy: float | None
    num_images: int


def matched_scores(counts: SegmentationCounts, mapping: np.ndarray) -> MatchedScores:
    """Score a data set after a match.

    Args:
        counts: Counts of all images, on the CPU; at least one image.
        mapping: Category id of each generated id; C + 1 is never right and never "others". 0 maps
            to 0 and no other id does. One-to-one up to C + 1 unless the counts are `many_to_one`.
            Shape (G + 1,).

    Returns:
        The scores.

    Source: ImageNet-S evaluation toolbox. Without background: mean IoU over the classes that occur
        and pixel accuracy, as Cho et al., PiCIE, CVPR 2021, and Hamilton et al., STEGO, ICLR 2022.
    """
    num_categories, num_images = counts.layout.num_categories, int(counts.images)
    iou = iou_per_class(  # (C + 1, 5)
        matched_counts(counts.joint, mapping, num_categories),
        rename_rows(counts.joint.sum(dim=2).T, mapping, num_categories),
        counts.joint.sum(dim=1).T,
    )
    boundary_iou = iou_per_class(  # (C + 1, 5)
        matched_counts(counts.band_joint, mapping, num_categories),
        rename_rows(counts.band_predicted.T, mapping, num_categories),
        counts.band_true.T,
    )
    true_areas = counts.joint[1:].sum(dim=1)  # (4, C + 1)
    hits = int(matched_counts(counts.dominant, mapping, num_categories)[1:].sum())
    hits += sum(_dominant_is_right(image, mapping, num_categories) for image in counts.open_images)
    scores = MatchedScores(
        mapping=mapping,
        iou=iou[:, 0],
        boundary_iou=boundary_iou[:, 0],
        size_iou=_size_means(iou[:, 1:], true_areas),
        size_boundary_iou=_size_means(boundary_iou[:, 1:], counts.band_true[1:]),
        size_classes=dict(zip(SIZE_NAMES, (true_areas > 0).sum(dim=1).tolist(), strict=True)),
        image_accuracy=hits / num_images,
        f_beta=int(counts.f_beta) / F_BETA_UNIT / num_images,
        pixel_accuracy=None,
        num_images=num_images,
    )
    return scores if counts.layout.background == 0 else _without_background(scores, counts)


def _without_background(scores: MatchedScores, counts: SegmentationCounts) -> MatchedScores:
    """The scores when every id was counted one place later, see `CountLayout`."""
    joint, num_categories = counts.joint[0], counts.layout.num_categories
    predicted = rename_rows(joint.sum(dim=1), scores.mapping, num_categories)
    occurs = (predicted + joint.sum(dim=0) > 0)[1:]  # (C,)
    right = matched_counts(joint, scores.mapping, num_categories).sum()
    return replace(
        scores,
        mapping=scores.mapping[1:] - 1,
        iou=torch.where(occurs, scores.iou[1:], torch.nan),
        boundary_iou=torch.where(occurs, scores.boundary_iou[1:], torch.nan),
        f_beta=None,
        pixel_accuracy=int(right) / max(1, int(joint.sum())),
    )


def _size_means(iou: Tensor, true_areas: Tensor) -> dict[str, float | None]:
    """Means over the classes of each bucket, from iou (C + 1, 4) and true_areas (4, C + 1)."""
    means = [mean_over_present(*pair) for pair in zip(iou.T, true_areas, strict=True)]
    return dict(zip(SIZE_NAMES, means, strict=True))


def _dominant_is_right(image: OpenDominance, mapping: np.ndarray, num_categories: int) -> bool:
    """Whether the matched category with most pixels, of equals the lowest, is in the mask."""
    ids = torch.from_numpy(mapping[image.clusters])
    areas = torch.zeros(num_categories + 2, dtype=torch.int64)
    areas.index_add_(0, ids, torch.from_numpy(image.areas))
    dominant = int(areas[1:].argmax()) + 1  # argmax takes the first of equals
    return dominant in image.categories
