"""From features and a coarse label map to points and boxes, and from masks back to a label map.

Source: Li et al. 2024, Universal organizer of SAM for unsupervised semantic segmentation (UO-SAM).
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional as F


def large_categories(label_map: np.ndarray, min_share: float) -> list[int]:
    """Categories that cover at least a share of the image, by falling area; of equals the lowest.

    Args:
        label_map: Integer ids >= 0; 0 is no category. Shape (H, W).
        min_share: In [0, 1].
    """
    areas = np.bincount(label_map.ravel())
    areas[0] = 0
    order = np.argsort(-areas, kind='stable')
    return [int(c) for c in order if areas[c] and areas[c] >= min_share * label_map.size]


def cells_of_region(
    region: np.ndarray, grid: tuple[int, int], covered: tuple[float, float]
) -> np.ndarray:
    """Cells of a feature map that show a region.

    Args:
        region: bool (H, W), with at least one pixel.
        grid: Rows and columns of the feature map.
        covered: How many of its rows and columns, counted from the upper left and not necessarily
            whole, show the image.

    Returns:
        Cells whose centre lies in the region, or, if there is none, those with a pixel of it.
        bool `grid`.
    """
    scale = [side / cells for side, cells in zip(region.shape, covered, strict=True)]  # pixels
    centres = [((np.arange(n) + 0.5) * s).astype(int) for n, s in zip(grid, scale, strict=True)]
    rows, columns = (c < side for c, side in zip(centres, region.shape, strict=True))
    cells = np.zeros(grid, dtype=bool)
    cells[np.ix_(rows, columns)] = region[np.ix_(centres[0][rows], centres[1][columns])]
    if not cells.any():
        places = [(p / s).astype(int) for p, s in zip(np.nonzero(region), scale, strict=True)]
        cells[places[0], places[1]] = True
    return cells


def similarity_to_cells(features: Tensor, cells: Tensor) -> Tensor:
    """Cosine of every cell's feature and the mean feature of some cells.

    Args:
        features: float (C, h, w).
        cells: bool (h, w), at least one of them True.

    Returns:
        In [-1, 1], dtype of the features. Shape (h, w).
    """
    return F.cosine_similarity(features, features[:, cells].mean(dim=1)[:, None, None], dim=0)


def extreme_points(similarity: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """x, y of the highest and of the lowest value; of equals the first, row by row.

    Args:
        similarity: Float (H, W).
    """
    places = similarity.argmax(), similarity.argmin()
    (y1, x1), (y0, x0) = (np.unravel_index(place, similarity.shape) for place in places)
    return (int(x1), int(y1)), (int(x0), int(y0))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks, bool (H, W); 0 if both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def vote_in_masks(label_map: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Every mask takes the id that is most frequent in it, 0 included; small masks over large ones.

    Args:
        label_map: Integer ids >= 0. Shape (H, W).
        masks: bool (H, W), not empty; they may overlap and need not cover the image. Of equally
            large ones the later counts.

    Returns:
        Ids, int64, a new array; of equally frequent ids the lowest. The label map itself if every
        pixel would become 0. Shape (H, W).
    """
    voted = label_map.astype(np.int64)
    for mask in sorted(masks, key=np.count_nonzero, reverse=True):
        voted[mask] = np.bincount(label_map[mask]).argmax()
    return voted if voted.any() else label_map.astype(np.int64)
