"""Pictures: label maps and scores in colour, strips, legends, sheets of thumbnails, lettering."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from luss_mm.datasets.image_file import REDUCED_FLAGS, decode_image, read_header, turn_upright
from luss_mm.work_dir.atomic_files import write_atomically

PAPER = 255
MARGIN = 6
HATCH = 4  # width in pixels of the stripes over ignored pixels
HATCH_GREYS = (90, 200)
NO_SCORE_GREY = 128
ENCODERS = {
    '.png': ('.png', []),
    '.jpg': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 92]),
    '.jpeg': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 92]),
}
MAX_ENTRIES = 6  # of a legend
GAP = 4  # between thumbnails
MISSING_GREY = 190
CROSS_GREY = 110
INK = (30, 30, 30)
CAPTION_SIZE = 10
TITLE_SIZE = 15
ELLIPSIS = '…'


def blend_labels(
    image_rgb: np.ndarray,
    labels: np.ndarray,
    palette: np.ndarray,
    opacity: float = 0.5,
    ignore_index: int = 1000,
) -> np.ndarray:
    """Colour an image by its label map. Pixels of label 0 (others) stay as they are.

    Args:
        image_rgb: RGB image, uint8. Shape (H, W, 3).
        labels: Ids, integer: 0 = others, indices of the palette, or ignore_index. Shape (H, W).
        palette: RGB colours of the ids, uint8. Shape (num_ids, 3).
        opacity: Share of the label's colour, in [0, 1].
        ignore_index: Pixels of this id are hatched in grey.

    Returns:
        RGB picture, uint8. Shape (H, W, 3).

    Raises:
        ValueError: If the shapes do not fit or a label has no colour.
    """
    _check_picture(image_rgb, 'image_rgb')
    if labels.shape != image_rgb.shape[:2]:
        raise ValueError(f'labels {labels.shape} do not fit the image {image_rgb.shape}')
    ignored = labels == ignore_index
    known = np.where(ignored, 0, labels)
    if known.size and not 0 <= known.min() <= known.max() < len(palette):
        raise ValueError(
            f'labels {known.min()} to {known.max()} need colours, the palette has '
            f'{len(palette)}: use category_palette(num_ids)'
        )
    colours = palette[known]  # (H, W, 3)
    rows, columns = np.indices(labels.shape, sparse=True)
    hatching = np.asarray(HATCH_GREYS, np.uint8)[(rows + columns) // HATCH % 2]  # (H, W)
    colours[ignored] = hatching[ignored][:, None]
    picture = image_rgb.copy()
    marked = ignored | (known > 0)
    blend = (1 - opacity) * image_rgb[marked] + opacity * colours[marked]
    picture[marked] = np.round(blend).astype(np.uint8)
    return picture


def score_heatmap(
    score: np.ndarray, image_rgb: np.ndarray | None = None, opacity: float = 0.6
) -> np.ndarray:
    """Paint a score map in colours from dark blue (0) over green to yellow (1).

    Args:
        score: Any float dtype in [0, 1]; values outside are clipped, NaN is grey. Shape (H, W).
        image_rgb: Image below the colours, uint8 (H, W, 3); None for the colours alone.
        opacity: Share of the colours over the image, in [0, 1].

    Returns:
        RGB picture, uint8. Shape (H, W, 3).

    Raises:
        ValueError: If the shapes do not fit.
    """
    if score.ndim != 2:
        raise ValueError(f'a score map is (H, W), got {score.shape}')
    unknown = np.isnan(score)
    levels = np.round(np.where(unknown, 0, score).clip(0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()  # RGB
    colours[unknown] = NO_SCORE_GREY
    if image_rgb is None:
        return colours
    _check_picture(image_rgb, 'image_rgb')
    if score.shape != image_rgb.shape[:2]:
        raise ValueError(f'score {score.shape} does not fit the image {image_rgb.shape}')
    return np.round((1 - opacity) * image_rgb + opacity * colours).astype(np.uint8)


def picture_strip(panels: Sequence[tuple[str, np.ndarray]], height: int = 160) -> np.ndarray:
    """Put pictures side by side, equally high, each below its title.

    Args:
        panels: Titles and RGB pictures, uint8 (H, W, 3) of any sizes. At least one.
        height: Height of every picture in the strip, in pixels.

    Returns:
        RGB picture on white, uint8: height + title line + margins high. Shape (h, w, 3).

    Raises:
        ValueError: If there is no panel or one is not an RGB picture.
    """
    if not panels:
        raise ValueError('a strip needs at least one panel')
    top = MARGIN + line_height()
    resized = []
    for title, picture in panels:
        _check_picture(picture, f'panel {title!r}')
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        smaller = height < picture.shape[0]
        method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        resized.append(cv2.resize(picture, (width, height), interpolation=method))
    total = MARGIN + sum(picture.shape[1] + MARGIN for picture in resized)
    strip = np.full((top + height + MARGIN, total, 3), PAPER, np.uint8)
    left = MARGIN
    for (title, _), picture in zip(panels, resized, strict=True):
        width = picture.shape[1]
        strip[top : top + height, left : left + width] = picture
        draw_text(strip, title, left, MARGIN // 2, width)
        left += width + MARGIN
    return strip


def save_picture(path: str | Path, rgb: np.ndarray) -> None:
    """Write a picture so that a file of this name is either complete or not there.

    Args:
        path: Ends in .png, .jpg or .jpeg (any case). Missing folders are made.
        rgb: RGB picture, uint8. Shape (H, W, 3).

    Raises:
        ValueError: If the suffix is another one or the array is not an RGB picture.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    _check_picture(rgb, str(path))
    if path.suffix.lower() not in ENCODERS:
        raise ValueError(f'{path}: pictures end in {", ".join(ENCODERS)}, not {path.suffix!r}')
    encoder, options = ENCODERS[path.suffix.lower()]
    encoded, data = cv2.imencode(encoder, rgb[..., ::-1], options)
    if not encoded:
        raise OSError(f'{path}: OpenCV could not encode a picture of shape {rgb.shape}')
    write_atomically(path, data.data, sync=False)


def add_legend(picture: np.ndarray, entries: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Put a line for each id below a picture: a square of its colour and its name.

    Args:
        picture: RGB, uint8. Shape (H, W, 3).
        entries: Texts and RGB colours, uint8 (3,); the first `MAX_ENTRIES` are shown and the others
            counted.

    Returns:
        RGB picture, uint8. Shape (H + lines, W, 3).
    """
    shown = list(entries[:MAX_ENTRIES])
    lines = len(shown) + (len(entries) > len(shown))
    if not lines:
        return picture
    step, square = line_height(), line_height() - 4
    strip = np.full((lines * step + 2 * MARGIN, picture.shape[1], 3), PAPER, np.uint8)
    left = 2 * MARGIN + square
    for line, (text, colour) in enumerate(shown):
        top = MARGIN + line * step
        strip[top + 2 : top + 2 + square, MARGIN : MARGIN + square] = colour
        draw_text(strip, text, left, top, max(0, strip.shape[1] - left - MARGIN))
    if len(entries) > len(shown):
        text = f'and {len(entries) - len(shown)} more'
        draw_text(strip, text, left, MARGIN + len(shown) * step, max(0, strip.shape[1] - left))
    return np.concatenate([picture, strip])


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
    """
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


def draw_text(
    image: np.ndarray,
    text: str,
    left: int,
    top: int,
    width: int,
    size: int = 12,
) -> None:
    """Write one line of text into an image, in place; what is too long ends in an ellipsis.

    Args:
        image: RGB picture, uint8, changed where the letters are. Shape (H, W, 3).
        text: One line; control characters become spaces.
        left: Where the text begins, in pixels.
        top: Upper edge of the line, in pixels.
        width: Room for the text in pixels.
        size: Size of the letters in pixels; a line is `line_height(size)` high.
    """
    canvas = Image.fromarray(image)
    ImageDraw.Draw(canvas).text(
        (left, top), shorten_text(text, width, size), fill=INK, font=_font(size)
    )
    image[:] = np.asarray(canvas)


def shorten_text(text: str, width: int, size: int = 12) -> str:
    """The longest beginning of a text that fits into a width in pixels, marked by an ellipsis."""
    font = _font(size)
    text = ''.join(letter if letter.isprintable() else ' ' for letter in text)
    if font.getlength(text) <= width:
        return text
    kept = bisect_right(
        range(len(text)), width, key=lambda kept: font.getlength(text[:kept] + ELLIPSIS)
    )
    return text[: max(0, kept - 1)] + ELLIPSIS


def line_height(size: int = 12) -> int:
    """Height in pixels of a line of text of a size."""
    ascent, descent = _font(size).getmetrics()
    return ascent + descent


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings this font, so every machine draws the same letters
    folder = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf'
    return ImageFont.truetype(str(folder / 'DejaVuSans.ttf'), size)


def _check_picture(picture: np.ndarray, name: str) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(
            f'{name}: a picture is RGB uint8 (H, W, 3), got {picture.shape} {picture.dtype}'
        )
