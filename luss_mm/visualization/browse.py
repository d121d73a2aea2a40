"""Training samples as pictures: views where they were cut out, labels, CutMix boxes."""

import colorsys
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from luss_mm.functional.alignment import overlap_grids
from luss_mm.functional.consistency import paste_boxes
from luss_mm.functional.label_codec import category_palette
from luss_mm.visualization.legend import add_legend
from luss_mm.visualization.overlays import HATCH_GREYS, blend_labels, picture_strip

HEIGHT = 224  # of the panels
BOX_COLOURS = category_palette(64)[[1, 2, 3, 4, 5, 6, 7, 8]]  # of the views, again after eight
WHITE = (255, 255, 255)


def views_picture(
    image: np.ndarray, views: Sequence[np.ndarray], crops: Tensor, points: tuple[int, str] | None
) -> np.ndarray:
    """Views of one image beside it, with the boxes that they were cut out of.

    Args:
        image: As loaded, RGB uint8. Shape (H, W, 3).
        views: RGB uint8, the two global ones first. Shape (s, s, 3) each.
        crops: left, top, width, height in pixels of the image and 1 where flipped. Shape (V, 5).
        points: Number along each axis of the overlap of the two global views, and placement, see
            `overlap_grids`: pairs of pixel-to-pixel alignment get one colour in both views and in
            the image. None draws none.

    Returns:
        RGB picture, uint8. Shape (h, w, 3).
    """
    whole, shown = enlarged(image), [enlarged(view) for view in views]
    title = 'image'
    if points is not None:
        grids = overlap_grids(crops[:1], crops[1:2], *points)
        title = (
            f'image, {points[0]} x {points[0]} pairs' if grids[2].item() else 'image, no overlap'
        )
        if grids[2].item():
            for view, grid in zip(shown[:2], grids[:2], strict=True):
                draw_points(view, grid_in_pixels(grid[0], view.shape))
            draw_points(
                whole, grid_in_image(grids[0][0], crops[0]) * whole.shape[1] / image.shape[1]
            )
    scale = whole.shape[1] / image.shape[1]
    for number, crop in enumerate(crops.tolist()):
        draw_box(whole, [scale * side for side in crop[:4]], box_colour(number))
    panels = [(title, whole)]
    for number, (view, crop) in enumerate(zip(shown, crops.tolist(), strict=True)):
        draw_box(view, (0, 0, view.shape[1], view.shape[0]), box_colour(number))
        panels.append((f'view {number + 1}{", flipped" if crop[4] else ""}', view))
    return picture_strip(panels, HEIGHT)


def labels_picture(
    panels: Sequence[tuple[str, np.ndarray]],
    labels: np.ndarray,
    names: Sequence[str] | None,
    ignore_index: int,
    word: str = 'id',
) -> np.ndarray:
    """An image under its label map, with a legend of the ids that occur, the largest first.

    Args:
        panels: Titles and RGB pictures, uint8; the last one is coloured. Shape (H, W, 3).
        labels: Ids, 0 for others. Shape (H, W).
        names: Of the ids; None or too few leave them numbered.
        ignore_index: Id of hatched pixels.
        word: What a nameless id is, e.g. 'cluster'.
    """
    counted = labels != ignore_index
    ids, counts = np.unique(labels[counted], return_counts=True)
    palette = category_palette(int(ids.max(initial=0)) + 1)
    blended = blend_labels(panels[-1][1], labels, palette, ignore_index=ignore_index)
    picture = picture_strip([*panels, ('labels', blended)], HEIGHT)
    order = [i for i in np.argsort(-counts, kind='stable') if ids[i] != 0]
    entries = [
        (f'{id_name(int(ids[i]), names, word)}: {counts[i] / labels.size:.1%}', palette[ids[i]])
        for i in order
    ]
    if not counted.all():
        grey = np.full(3, sum(HATCH_GREYS) // 2, np.uint8)
        entries.append((f'ignored: {1 - counted.mean():.1%}', grey))
    return add_legend(picture, entries)


def hatch_ignored(image: np.ndarray, labels: np.ndarray, ignore_index: int) -> np.ndarray:
    """An image with hatches where its label map is ignored, e.g. over padding. RGB (H, W, 3)."""
    ignored = np.where(labels == ignore_index, ignore_index, 0)
    return blend_labels(image, ignored, category_palette(1), ignore_index=ignore_index)


def mixed_picture(
    views: Mapping[str, np.ndarray],
    partners: Mapping[str, np.ndarray],
    boxes: Mapping[str, tuple[int, int, int, int] | None],
) -> np.ndarray:
    """Views of one unlabelled image, its partner's, and what CutMix makes of both.

    Args:
        views: Titles and RGB pictures, uint8. Shape (H, W, 3) each.
        partners: Of the image that is pasted in; empty without CutMix.
        boxes: left, top, width, height in pixels of the views that are mixed, or None.
    """
    panels: list[tuple[str, np.ndarray]] = []
    for name, view in views.items():
        panels.append((name, view))
        if name not in boxes or name not in partners:
            continue
        box = boxes[name]
        if box is None:
            panels[-1] = (f'{name}, no box', view)
            continue
        mixed = paste_boxes(_as_batch(view), _as_batch(partners[name]), torch.tensor([box]))
        pasted = mixed[0].numpy().transpose(1, 2, 0)
        panels.append((f'partner {name}', boxed(partners[name], box)))
        panels.append((f'{name} mixed', boxed(pasted, box)))
    return picture_strip(panels, HEIGHT)


def id_name(number: int, names: Sequence[str] | None, word: str) -> str:
    """Name of an id, or the word and its number."""
    return names[number] if names and number < len(names) else f'{word} {number}'


def box_colour(number: int) -> tuple[int, ...]:
    """RGB colour of a view's box."""
    return tuple(BOX_COLOURS[number % len(BOX_COLOURS)].tolist())


def boxed(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """An enlarged copy of a picture with a box: left, top, width, height in its own pixels."""
    large = enlarged(picture)
    scale = large.shape[1] / picture.shape[1]
    draw_box(large, [scale * side for side in box], box_colour(0))
    return large


def draw_box(picture: np.ndarray, box: Sequence[float], colour: Sequence[int]) -> None:
    """Draw left, top, width, height in place, inside of the box's own pixels."""
    left, top, width, height = (round(side) for side in box)
    corners = (left, top), (left + max(width, 1) - 1, top + max(height, 1) - 1)
    cv2.rectangle(picture, *corners, WHITE, 3)
    cv2.rectangle(picture, *corners, tuple(colour), 2)


def draw_points(picture: np.ndarray, points: np.ndarray) -> None:
    """Draw a grid of points in place, x and y in pixels; a place in the grid has one colour.

    Args:
        picture: RGB uint8. Shape (H, W, 3).
        points: Shape (p, p, 2).
    """
    rows, columns = points.shape[:2]
    radius = max(2, min(picture.shape[:2]) // 70)
    for row in range(rows):
        for column in range(columns):
            colour = _place_colour(row / max(rows - 1, 1), column / max(columns - 1, 1))
            centre = tuple(np.floor(points[row, column]).astype(int).tolist())
            cv2.circle(picture, centre, radius + 1, WHITE, -1, cv2.LINE_AA)
            cv2.circle(picture, centre, radius, colour, -1, cv2.LINE_AA)


def grid_in_pixels(grid: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Points of `overlap_grids` in [-1, 1] over a view, in pixels of it. Shape (p, p, 2)."""
    size = torch.tensor([shape[1], shape[0]], dtype=torch.float32)
    return ((grid + 1) / 2 * size).numpy()


def grid_in_image(grid: Tensor, crop: Tensor) -> np.ndarray:
    """Points of a view's grid in pixels of the image that it was cut out of. Shape (p, p, 2)."""
    left, top, width, height, flipped = crop.tolist()
    share = (grid + 1) / 2
    across = 1 - share[..., 0] if flipped else share[..., 0]
    return torch.stack([left + across * width, top + share[..., 1] * height], dim=-1).numpy()


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A copy that is at least as high as a panel, so that lines and points are fine in it."""
    factor = -(-HEIGHT // picture.shape[0])
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)


def _as_batch(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def _place_colour(down: float, across: float) -> tuple[int, ...]:
    """Hue from left to right, lightness from top to bottom."""
    rgb = colorsys.hls_to_rgb(0.8 * across, 0.3 + 0.4 * down, 1.0)
    return tuple(round(255 * channel) for channel in rgb)
