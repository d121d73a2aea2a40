"""Text in pictures: antialiased, with accents, never wider than its place."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ELLIPSIS = '…'


def draw_text(
    image: np.ndarray,
    text: str,
    left: int,
    top: int,
    width: int,
    size: int = 12,
    colour: tuple[int, int, int] = (30, 30, 30),
) -> None:
    """Write one line of text into an image, in place; what is too long ends in an ellipsis.

    Args:
        image: RGB picture, uint8, changed where the letters are. Shape (H, W, 3).
        text: One line; control characters become spaces.
        left: Where the text begins, in pixels.
        top: Upper edge of the line, in pixels.
        width: Room for the text in pixels.
        size: Size of the letters in pixels; a line is `line_height(size)` high.
        colour: RGB.
    """
    canvas = Image.fromarray(image)
    ImageDraw.Draw(canvas).text(
        (left, top), shorten_text(text, width, size), fill=colour, font=_font(size)
    )
    image[:] = np.asarray(canvas)


def shorten_text(text: str, width: int, size: int = 12) -> str:
    """The longest beginning of a text that fits into a width in pixels, marked by an ellipsis."""
    font = _font(size)
    text = ''.join(letter if letter.isprintable() else ' ' for letter in text)
    if font.getlength(text) <= width:
        return text
    fitting, too_long = 0, len(text)  # letters kept: bisection
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if font.getlength(text[:middle] + ELLIPSIS) <= width:
            fitting = middle
        else:
            too_long = middle
    return text[:fitting] + ELLIPSIS


def line_height(size: int = 12) -> int:
    """Height in pixels of a line of text of a size."""
    ascent, descent = _font(size).getmetrics()
    return ascent + descent


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings this font, so every machine draws the same letters
    folder = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf'
    return ImageFont.truetype(str(folder / 'DejaVuSans.ttf'), size)
