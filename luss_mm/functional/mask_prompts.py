"""Prompts of a segmenter, and its masks as label maps: SPO's, and the votes of UO-SAM."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)
# OpenCV's numbers of what a pixel is before GrabCut.
BACKGROUND, OBJECT, PROBABLY_BACKGROUND, PROBABLY_OBJECT = range(4)
SEED_DIVISOR = 10  # a region without sure pixels is seeded by its highest tenth of scores


@dataclass(frozen=True, eq=False)
class ForegroundScore:
    """How likely every pixel of an image shows an object.

    Attributes:
        values: float32 (H, W).
        low: Scores up to it are surely background.
        threshold: Scores from it on are foreground.
        high: Scores from it on are surely object; low <= threshold <= high.
    """

    values: np.ndarray
    low: float
    threshold: float
    high: float


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """Where a segmenter should look for one class.

    Attributes:
        category: Generated id, 1 to K.
        boxes: One a connected component: x0, y0, x1, y1 of its first and last pixel (inclusive), in
            image pixels. float32 (n, 4), n >= 1.
        point: x, y of a pixel that shows the class, or None.
        region: Where the coarse label map has the class, bool (H, W).
        score: Foreground score of the image, or None if the region is all there is to go by.
        other_point: x, y of a pixel that shows something else, or None. With it, both points go
            with every box, also with one that does not contain them, and the second pass of a
            segmenter that has two takes the bounding box of the first pass's mask.
    """

    category: int
    boxes: np.ndarray
    point: tuple[int, int] | None
    region: np.ndarray
    score: ForegroundScore | None = None
    other_point: tuple[int, int] | None = None


def active_categories(squared_distances: np.ndarray, sigma: float) -> list[int]:
    """Categories that an image may show: its main one, and the others that are near enough.

    Args:
        squared_distances: Squared distances of the image's embedding to the centroids. Shape (K,).
        sigma: Bound on the squared distance of the further categories, inclusive, compared in the
            precision of the distances. The main category need not meet it.

    Returns:
        Generated ids (cluster + 1): the nearest, then the others by rising distance; of equals the
        lowest first.

    Raises:
        ValueError: If a distance is NaN.

    Source: PDSO, SAM prompt optimisation.
    """
    if np.isnan(squared_distances).any():
        category = int(np.isnan(squared_distances).argmax()) + 1
        raise ValueError(
            f'the squared distance to category {category} is NaN: its centroid or the embedding is'
        )
    order = squared_distances.argsort(kind='stable')
    near = squared_distances[order] <= float(sigma)  # in float32 if they are: .8 is .8
    near[0] = True
    return (order[near] + 1).tolist()


def present_categories(label_map: np.ndarray) -> list[int]:
    """Ids other than 0 in a label map, rising.

    Args:
        label_map: Integer ids >= 0. Shape (H, W).
    """
    return (np.flatnonzero(np.bincount(label_map.ravel())[1:]) + 1).tolist()


def component_boxes(region: np.ndarray, min_area: int = 0) -> np.ndarray:
    """Bounding box of every 8-connected component of a region.

    Args:
        region: bool (H, W).
        min_area: Components of fewer pixels are left out.

    Returns:
        x0, y0, x1, y1 of the first and last pixel (inclusive), in the order of the components'
        first pixels, row by row. float32 (n, 4), n >= 0.
    """
    boxes, areas = _components(region)
    return boxes[areas >= min_area]


def largest_component_box(region: np.ndarray) -> np.ndarray:
    """Bounding box of the largest component, as `component_boxes` gives them; of equals the first.

    Args:
        region: bool (H, W), with at least one pixel.

    Returns:
        float32 (1, 4).
    """
    boxes, areas = _components(region)
    return boxes[areas.argmax()][None]


def _components(region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and areas of the components of a region, float32 (n, 4) and integer (n,)."""
    components, _ = ndimage.label(region, EIGHT_NEIGHBOURS)
    slices = ndimage.find_objects(components)
    boxes = [(x.start, y.start, x.stop - 1, y.stop - 1) for y, x in slices]
    areas = np.bincount(components.ravel())[1:]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4), areas


def attention_point(score: np.ndarray) -> tuple[int, int]:
    """x, y of the highest foreground score; of equals the first, row by row.

    Args:
        score: At image size, any float dtype. Shape (H, W).

    Raises:
        ValueError: If a score is NaN.
    """
    row, column = np.unravel_index(score.argmax(), score.shape)  # argmax of NaNs is the first NaN
    if np.isnan(score[row, column]):
        raise ValueError(f'the foreground score at x {column}, y {row} is NaN: the network made it')
    return int(column), int(row)


def class_prompts(
    label_map: np.ndarray,
    score: np.ndarray,
    squared_distances: np.ndarray,
    sigma: float,
    min_area: int = 0,
) -> list[MaskPrompt]:
    """Prompts of every active category that the coarse label map shows.

    Args:
        label_map: Coarse generated ids, integer in [0, K]. Shape (H, W).
        score: Foreground score at the same size. Its highest pixel becomes the positive point of
            the class that is labelled there, and of no other. Shape (H, W).
        squared_distances: Squared distances of the image's embedding to the centroids. Shape (K,).
        sigma: See `active_categories`.
        min_area: Components of fewer pixels give no box, a class without boxes no prompt.

    Returns:
        One prompt a class, in the order of `active_categories`.

    Raises:
        ValueError: See `active_categories` and `attention_point`.

    Source: PDSO, SAM prompt optimisation. The minimum area is not published.
    """
    x, y = attention_point(score)
    present = set(present_categories(label_map))
    prompts = []
    for category in active_categories(squared_distances, sigma):
        if category not in present:
            continue  # saves a walk over the image
        region = label_map == category
        boxes = component_boxes(region, min_area)
        if len(boxes):
            prompts.append(MaskPrompt(category, boxes, (x, y) if region[y, x] else None, region))
    return prompts


def prompts_with_score(prompts: Sequence[MaskPrompt], score: ForegroundScore) -> list[MaskPrompt]:
    """The same prompts with the foreground score, and each with a point of its own.

    Args:
        prompts: Prompts of one image, as `class_prompts` makes them.
        score: Score of the same image.

    Returns:
        Prompts whose point is the highest score in the region, of equals the first, row by row.
    """
    scored = []
    for prompt in prompts:
        point = attention_point(np.where(prompt.region, score.values, -np.inf))
        scored.append(replace(prompt, point=point, score=score))
    return scored


def score_trimap(score: ForegroundScore, region: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What the foreground score says of every pixel before colours are looked at.

    Pixels of other classes are surely background. Elsewhere, scores from `high` on are surely
    object and others from `threshold` on probably object; of the rest, scores up to `low` are
    surely and others probably background. If no pixel is surely object, the highest tenth of the
    scores in the region is.

    Args:
        score: Score of the image.
        region: Where the class is by the coarse label map, bool (H, W).
        others: Where other classes are, bool (H, W).

    Returns:
        `BACKGROUND`, `OBJECT`, `PROBABLY_BACKGROUND` or `PROBABLY_OBJECT`. uint8 (H, W).
    """
    values = score.values
    trimap = np.full(values.shape, PROBABLY_BACKGROUND, dtype=np.uint8)
    trimap[values <= score.low] = BACKGROUND
    trimap[values >= score.threshold] = PROBABLY_OBJECT
    trimap[values >= score.high] = OBJECT
    trimap[others] = BACKGROUND
    if not (trimap == OBJECT).any() and region.any():
        inside = np.sort(values[region])
        lowest = inside[-math.ceil(len(inside) / SEED_DIVISOR)]
        trimap[region & (values >= lowest)] = OBJECT
    return trimap


def merge_masks(
    label_map: np.ndarray, categories: Sequence[int], masks: Sequence[np.ndarray]
) -> np.ndarray:
    """One label map of the classes' masks: where masks overlap, the earlier class has the pixel.

    Pixels outside all masks become 0. If no mask has a pixel, the coarse label map is kept (the
    authors of PDSO write an empty one).

    Args:
        label_map: Coarse generated ids, integer. Shape (H, W).
        categories: Generated ids >= 1, the main class first.
        masks: One a category, bool (H, W).

    Returns:
        Generated ids, int64, a new array. Shape (H, W).

    Raises:
        ValueError: If there are not as many masks as categories, or a mask is not bool (H, W).
    """
    if len(masks) != len(categories):
        raise ValueError(
            f'{len(masks)} masks for {len(categories)} categories: a segmenter returns one mask a '
            'prompt'
        )
    merged = np.zeros(label_map.shape, dtype=np.int64)
    for category, mask in reversed(list(zip(categories, masks, strict=True))):
        if mask.shape != label_map.shape or mask.dtype != np.bool_:
            raise ValueError(
                f'the mask of category {category} is {mask.dtype} {tuple(mask.shape)}; it must be '
                f'bool {label_map.shape}'
            )
        merged[mask] = category  # earlier classes come later and paint over
    return merged if merged.any() else label_map.astype(np.int64)


def merging_outcome(
    label_map: np.ndarray,
    active: Sequence[int],
    prompted: Sequence[int],
    masks: Sequence[np.ndarray],
    merged: np.ndarray,
) -> dict[str, list[int] | bool]:
    """What became of every category that is active or in the coarse label map.

    Unless the coarse label map was kept, each of them is in exactly one of the lists.

    Args:
        label_map: Coarse generated ids. Shape (H, W).
        active: Active categories from `active_categories`.
        prompted: Categories of `class_prompts`.
        masks: One a prompt, bool (H, W).
        merged: Merged masks from `merge_masks`. Shape (H, W).

    Returns:
        labelled: Categories in `merged`.
        absent: Active, but not in the coarse label map.
        too_small: Active, but all components are below the minimum area.
        inactive: In the coarse label map, but too far from the image to be prompted for.
        vanished: Prompted for, but without a pixel: the mask is empty or earlier classes cover it.
        kept_coarse: Whether `merged` is the coarse label map, because no mask has a pixel.
    """
    present, labelled = present_categories(label_map), present_categories(merged)
    kept_coarse = not any(mask.any() for mask in masks)
    return dict(
        labelled=labelled,
        absent=[c for c in active if c not in present],
        too_small=[c for c in active if c in present and c not in prompted],
        inactive=[c for c in present if c not in active],
        vanished=[c for c in prompted if kept_coarse or c not in labelled],
        kept_coarse=kept_coarse,
    )


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
