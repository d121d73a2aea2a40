"""Everything that the evaluation needs to know of one image, as one small table of pixel counts."""

from typing import NamedTuple

import torch
from torch import Tensor

from luss_mm.functional.matching import image_presence
from luss_mm.functional.scores import boundary_mask, f_beta_of_areas, joint_counts, widen_ids


class ImageTally(NamedTuple):
    """Pixel counts of one image over the ids that occur in it; its size does not depend on K.

    Attributes:
        clusters: Generated ids of the prediction, ascending, int64. Shape (p,).
        categories: True ids of the mask without the ignored one, ascending, int64. Shape (q,).
        pixels: Pixels by (cluster, in the prediction's band, category, in the mask's band) outside
            of ignored ones, int64. Shape (p, 2, q, 2).
    """

    clusters: Tensor
    categories: Tensor
    pixels: Tensor

    def joint(self) -> Tensor:
        """Pixels by cluster and category, int64. Shape (p, q)."""
        return self.pixels.sum(dim=(1, 3))

    def cluster_presence(self) -> Tensor:
        """True for clusters with a pixel that is not ignored, bool. Shape (p,)."""
        return self.pixels.sum(dim=(1, 2, 3)) > 0

    def dominant_cluster(self) -> Tensor:
        """True for the foreground cluster with most pixels, none without foreground. Shape (p,)."""
        areas = self.cluster_areas()
        first = areas.argmax()  # the first of equal areas: ties go to the lowest id
        return (torch.arange(len(areas), device=areas.device) == first) & (areas > 0)

    def cluster_areas(self) -> Tensor:
        """Pixels of each foreground cluster, 0 for "others", int64. Shape (p,)."""
        return self.pixels.sum(dim=(1, 2, 3)) * (self.clusters > 0)

    def dominance_is_open(self, many_to_one: bool) -> bool:
        """Whether the foreground category with most pixels can only be told after matching.

        So it is with a tie, which goes to the lowest category id, and, where several clusters may
        get the same id, if the others could outweigh the largest together.

        Args:
            many_to_one: Whether a match may give several clusters the same id.
        """
        areas = self.cluster_areas().sort(descending=True).values
        others = areas[1:] if many_to_one else areas[1:2]
        return len(areas) > 1 and bool((areas[0] > 0) & (areas[0] <= others.sum()))

    def renamed(self, mapping: Tensor) -> 'ImageTally':
        """The tally after a match: the areas and bands of clusters with the same new id are added.

        Args:
            mapping: New id of each generated id, int64. Shape (G + 1,).

        Returns:
            A tally whose `clusters` are the new ids.
        """
        ids, rows = mapping[self.clusters].unique(return_inverse=True)
        pixels = self.pixels.new_zeros(len(ids), *self.pixels.shape[1:])
        return ImageTally(ids, self.categories, pixels.index_add_(0, rows, self.pixels))

    def with_background(self) -> 'ImageTally':
        """The tally with every id raised by one, so that 0 is a background without pixels."""
        return ImageTally(self.clusters + 1, self.categories + 1, self.pixels)

    def f_beta(self) -> Tensor:
        """F-beta of the foreground, float64 scalar."""
        joint = self.joint()
        predicted = joint[self.clusters > 0]
        truth = joint[:, self.categories > 0]
        both = predicted[:, self.categories > 0]
        return f_beta_of_areas(both.sum(), predicted.sum(), truth.sum())


def tally_image(
    predicted: Tensor,
    truth: Tensor,
    num_clusters: int,
    num_categories: int,
    ignore_index: int,
    radius: int,
    background: int | None = 0,
) -> ImageTally:
    """Count one image's pixels by predicted id, true id and membership of both boundary bands.

    Bands are taken before ignored pixels are dropped (they are a region of their own) and from the
    generated ids, before any matching, as the official toolbox does.

    Args:
        predicted: Generated ids in [0, G], integer. Shape (H, W).
        truth: True ids in [0, C] or `ignore_index`, integer. Shape (H, W).
        num_clusters: G.
        num_categories: C.
        ignore_index: True id of pixels that count nowhere, outside of [0, C].
        radius: Radius of the boundary band in pixels.
        background: 0 if id 0 is "others". None if it is a cluster and a category like the rest; ids
            then end at G - 1 and C - 1.

    Returns:
        The tally, on the device of the inputs.

    Raises:
        ValueError: If an id is out of range.
    """
    predicted, truth = widen_ids(predicted), widen_ids(truth)
    known = truth != ignore_index
    check_ids('prediction', predicted, num_clusters, 'num_clusters', background=background)
    kept = torch.where(known, truth, 0)
    check_ids('mask', kept, num_categories, 'num_categories', ignore_index, background)
    predicted, truth = predicted.int(), truth.int()  # half the traffic of the usual int64
    predicted_band = boundary_mask(predicted, radius)
    true_band = boundary_mask(truth, radius)
    clusters, rows = _numbered(predicted, num_clusters + 1)
    ignored = num_categories + 1
    categories, columns = _numbered(torch.where(known, truth, ignored), num_categories + 2)
    pixels = joint_counts(
        rows.mul_(2).add_(predicted_band),
        columns.mul_(2).add_(true_band),
        2 * len(clusters),
        2 * len(categories),
    )
    pixels = pixels.view(len(clusters), 2, len(categories), 2)
    counted = categories != ignored
    return ImageTally(clusters, categories[counted], pixels[:, :, counted])


def check_ids(
    name: str,
    labels: Tensor,
    number: int,
    setting: str,
    ignore_index: int | None = None,
    background: int | None = 0,
) -> None:
    """Check that a label map holds nothing but ids of the settings.

    Args:
        name: What the label map is, for the message.
        labels: Any integer dtype and shape, not empty, ignored pixels replaced.
        number: Number of ids without "others"; `setting` has this value.
        setting: Name of the setting.
        ignore_index: Id of ignored pixels, for the message.
        background: As in `tally_image`.

    Raises:
        ValueError: If an id is outside of [0, number], or of [0, number - 1] without background.
    """
    highest = number if background == 0 else number - 1
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < 0 or high > highest:
        settings = f'{setting}={number}'
        if background is None:
            settings += ', background=None'
        if ignore_index is not None:
            settings += f', ignore_index={ignore_index}'
        raise ValueError(
            f'the {name} has ids {low} to {high}, outside of [0, {highest}] ({settings}). '
            f'Change the settings to what the {name} holds.'
        )


def _numbered(labels: Tensor, num_ids: int) -> tuple[Tensor, Tensor]:
    """The ids that occur, and every pixel's place among them.

    Args:
        labels: Ids in [0, num_ids), integer. Shape (H, W).
        num_ids: Number of ids.

    Returns:
        Ids that occur, ascending, int64, shape (p,); places in [0, p), int32, shape (H, W).
    """
    present = image_presence(labels, num_ids)
    places = present.cumsum(0, dtype=torch.int32) - 1
    # index_select is several times faster on the CPU than places[labels]
    return present.nonzero().flatten(), places.index_select(0, labels.flatten()).view_as(labels)
