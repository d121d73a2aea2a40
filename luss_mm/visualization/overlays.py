"""Label maps and scores as pictures, strips of pictures, and saving them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from luss_mm.visualization.lettering import draw_text, line_height
from luss_mm.work_dir.atomic_files import write_atomically

HATCH = 4  # width in pixels of the stripes over ignored pixels
HATCH_GREYS = (90, 200)
NO_SCORE_GREY = 128
MARGIN = 6
PAPER = 255
ENCODERS = {
    '.png': ('.png', []),
    '.jpg': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 92]),
    '.jpeg': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 92]),
}


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
        height: Of every picture in the strip, in pixels.

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


def _check_picture(picture: np.ndarray, name: str) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(
            f'{name}: a picture is RGB uint8 (H, W, 3), got {picture.shape} {picture.dtype}'
        )
