"""Names below a picture that is coloured by its label map."""

from collections.abc import Sequence

import numpy as np

from luss_mm.visualization.lettering import draw_text, line_height
from luss_mm.visualization.overlays import MARGIN, PAPER

MAX_ENTRIES = 6


def add_legend(
    picture: np.ndarray, entries: Sequence[tuple[str, np.ndarray]], max_entries: int = MAX_ENTRIES
) -> np.ndarray:
    """Put a line for each id below a picture: a square of its colour and its name.

    Args:
        picture: RGB, uint8. Shape (H, W, 3).
        entries: Texts and RGB colours, uint8 (3,); the first `max_entries` are shown and the others
            counted.
        max_entries: See above.

    Returns:
        RGB picture, uint8. Shape (H + lines, W, 3).
    """
    shown = list(entries[:max_entries])
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
