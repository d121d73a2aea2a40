"""The twelve figures of ImageNet-S, from the counts of a data set and a match."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from luss_mm.evaluation.segmentation_counts import (
    F_BETA_UNIT,
    OpenDominance,
    SegmentationCounts,
)
from luss_mm.functional.scores import (
    SIZE_NAMES,
    iou_per_class,
    matched_counts,
    mean_over_present,
    rename_rows,
)


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
        counts: Of all images, on the CPU; at least one image.
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
