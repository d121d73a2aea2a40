"""The sums over images that every score of a segmentation follows from, and the scores."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from luss_mm.functional.image_tally import ImageTally
from luss_mm.functional.matching import match_clusters
from luss_mm.functional.ranks import sum_over_ranks
from luss_mm.functional.scores import iou_per_class, rename_rows

# F-beta is summed in whole units of 2^-40: integers add up to the same sum in any order, so that
# any number of ranks gives the figures of one. int64 has room for 8 million images.
F_BETA_UNIT = 2**40


class SegmentationCounts:
    """Additive int64 counts of a data set by generated id (rows) and category id (columns).

    They are views of one vector, so that one all-reduce adds all of them over ranks. Nothing grows
    with the number of images.

    Attributes:
        joint: Pixels of each pair. Shape (G + 1, C + 1).
        band_joint: Pixels of each pair that are in both boundary bands. Shape (G + 1, C + 1).
        band_predicted: Pixels in the predictions' bands. Shape (G + 1,).
        band_true: Pixels in the masks' bands. Shape (C + 1,).
        presence: Images in which both occur. Shape (G + 1, C + 1).
        dominant: Images in which the category occurs and the id is the foreground id with most
            predicted pixels. Shape (G + 1, C + 1).
        f_beta: Sum of the images' F-beta in units of 1 / F_BETA_UNIT. Shape ().
        images: Number of images with a mask. Shape ().
        images_without_mask: Number of images that were only predicted. Shape ().
    """

    def __init__(self, num_clusters: int, num_categories: int, device: torch.device | str) -> None:
        """Start from zero.

        Args:
            num_clusters: G, generated ids without "others".
            num_categories: C, categories without "others".
            device: Where the counts live.
        """
        self.num_clusters = num_clusters
        self.num_categories = num_categories
        rows, columns = num_clusters + 1, num_categories + 1
        matrices, scalars = 4 * rows * columns, 3
        self.values = torch.zeros(
            matrices + rows + columns + scalars, dtype=torch.int64, device=device
        )
        parts = self.values.split([rows * columns] * 4 + [rows, columns] + [1] * scalars)
        self.joint, self.band_joint, self.presence, self.dominant = (
            part.view(rows, columns) for part in parts[:4]
        )
        self.band_predicted, self.band_true = parts[4:6]
        self.f_beta, self.images, self.images_without_mask = (part.view(()) for part in parts[6:])

    def add(self, tally: ImageTally) -> None:
        """Add one image.

        Args:
            tally: Its pixel counts, on the device of these counts.
        """
        clusters, categories, pixels = tally
        pairs = clusters[:, None], categories  # (p, q) entries of each matrix, all different
        self.joint[pairs] += tally.joint()
        self.band_joint[pairs] += pixels[:, 1, :, 1]
        self.presence[pairs] += tally.cluster_presence()[:, None]
        self.dominant[pairs] += tally.dominant_cluster()[:, None]
        self.band_predicted[clusters] += pixels[:, 1].sum(dim=(1, 2))
        self.band_true[categories] += pixels[..., 1].sum(dim=(0, 1))
        self.f_beta += (tally.f_beta() * F_BETA_UNIT).round().to(torch.int64)
        self.images += 1

    def summed_over_ranks(self, device: torch.device | str) -> 'SegmentationCounts':
        """The counts of all ranks together.

        Args:
            device: One that the process group can communicate from.

        Returns:
            New counts on the CPU, the same on every rank.
        """
        summed = SegmentationCounts(self.num_clusters, self.num_categories, 'cpu')
        summed.values.copy_(sum_over_ranks(self.values.to(device)))
        return summed


@dataclass(frozen=True)
class MatchedScores:
    """Scores after matching, as shares in [0, 1].

    Attributes:
        mapping: Category id of each generated id, int64. Shape (G + 1,).
        iou: IoU of each class, float64. Shape (C + 1,).
        boundary_iou: IoU of each class's boundary band, float64. Shape (C + 1,).
        image_accuracy: Share of images whose dominant category occurs in their mask.
        f_beta: Mean F-beta of foreground against background.
        num_images: Number of images.
    """

    mapping: np.ndarray
    iou: Tensor
    boundary_iou: Tensor
    image_accuracy: float
    f_beta: float
    num_images: int


def matched_scores(counts: SegmentationCounts) -> MatchedScores:
    """Match clusters to categories and score them, on the same counts.

    With more clusters than categories, the clusters left over are "others" for mIoU and b-mIoU and
    a miss for image accuracy where they dominate an image; for F-beta every cluster is foreground.

    Args:
        counts: Of all images, on the CPU; at least one image.

    Returns:
        The scores.

    Source: ImageNet-S evaluation toolbox.
    """
    mapping = match_clusters(counts.presence[1:, 1:].numpy())

    def rename(by_cluster: Tensor) -> Tensor:
        return rename_rows(by_cluster, mapping, counts.num_categories)

    joint, num_images = rename(counts.joint), int(counts.images)
    hits = rename(counts.dominant).diagonal()[1:].sum()
    return MatchedScores(
        mapping=mapping,
        iou=iou_per_class(joint.diagonal(), joint.sum(dim=1), joint.sum(dim=0)),
        boundary_iou=iou_per_class(
            rename(counts.band_joint).diagonal(), rename(counts.band_predicted), counts.band_true
        ),
        image_accuracy=int(hits) / num_images,
        f_beta=int(counts.f_beta) / F_BETA_UNIT / num_images,
        num_images=num_images,
    )
