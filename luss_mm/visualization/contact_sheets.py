"""Many images on one sheet, for looking through a cluster or a category at a glance."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from luss_mm.datasets.image_file import REDUCED_FLAGS, decode_image, read_header, turn_upright
from luss_mm.visualization.lettering import draw_text, line_height

GAP = 4
PAPER = 255
MISSING_GREY = 190
CROSS_GREY = 110
CAPTION_SIZE = 10
TITLE_SIZE = 15


def contact_sheet(
    image_paths: Sequence[str | Path],
    captions: Sequence[str] | None = None,
    title: str = '',
    columns: int = 8,
    tile: int = 96,
) -> np.ndarray:
    """Thumbnails of images in rows. One image is in memory at a time.

    A file that cannot be read becomes a grey tile with a cross and the file's name.

    Args:
        image_paths: Image files, shown in this order, cropped to their central squares.
        captions: One line below each image; None for none.
        title: One line above all of them.
        columns: Images a row.
        tile: Side of a thumbnail in pixels.

    Returns:
        RGB picture, uint8; its width depends on columns and tile only. Shape (h, w, 3).

    Raises:
        ValueError: If there are not as many captions as images, or a size is not positive.
    """
    if captions is not None and len(captions) != len(image_paths):
        raise ValueError(f'{len(captions)} captions for {len(image_paths)} images')
    if columns < 1 or tile < 1:
        raise ValueError(f'columns {columns} and tile {tile} must be at least 1')
    title_height = line_height(TITLE_SIZE) + GAP if title else 0
    step = tile + GAP + (line_height(CAPTION_SIZE) if captions is not None else 0)
    rows = -(-len(image_paths) // columns)
    size = (GAP + title_height + rows * step, GAP + columns * (tile + GAP), 3)
    sheet = np.full(size, PAPER, np.uint8)
    if title:
        draw_text(sheet, title, GAP, GAP // 2, size[1] - 2 * GAP, TITLE_SIZE)
    for position, path in enumerate(image_paths):
        row, column = divmod(position, columns)
        top, left = GAP + title_height + row * step, GAP + column * (tile + GAP)
        square = sheet[top : top + tile, left : left + tile]
        square[:] = thumbnail(path, tile)
        if captions is not None:
            below = sheet[top + tile : top + step]
            draw_text(below, captions[position], left, 0, tile, CAPTION_SIZE)
    return sheet


def thumbnail(path: str | Path, tile: int) -> np.ndarray:
    """Central square of an image, or a grey one with a cross and the name of a broken file.

    Args:
        path: Image file.
        tile: Side in pixels.

    Returns:
        RGB uint8. Shape (tile, tile, 3).
    """
    path = Path(path)
    try:
        header = read_header(path)
        shortest = min(header.height, header.width)
        # the decoder of JPEGs can leave out what a thumbnail does not need
        reduction = max(r for r in REDUCED_FLAGS if r == 1 or shortest >= r * tile)
        flags = REDUCED_FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
        image = turn_upright(decode_image(path, header.format, flags), header.orientation)
    except (OSError, ValueError, cv2.error):
        image = None
    if image is None:
        return _crossed_tile(path.name, tile)
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if tile < side else cv2.INTER_LINEAR
    return cv2.resize(square, (tile, tile), interpolation=method)[..., ::-1]


def _crossed_tile(name: str, tile: int) -> np.ndarray:
    picture = np.full((tile, tile, 3), MISSING_GREY, np.uint8)
    grey, last = (CROSS_GREY,) * 3, tile - 1
    cv2.line(picture, (0, 0), (last, last), grey, 1, cv2.LINE_AA)
    cv2.line(picture, (0, last), (last, 0), grey, 1, cv2.LINE_AA)
    draw_text(picture, name, 2, (tile - line_height(CAPTION_SIZE)) // 2, tile - 4, CAPTION_SIZE)
    return picture
