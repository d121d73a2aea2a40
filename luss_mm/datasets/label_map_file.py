"""Label maps as files: ImageNet-S's RGB PNGs, id = R + 256 G."""

from pathlib import Path

import cv2
import numpy as np

from luss_mm.datasets.image_file import ImageFileError, decode_image, read_header
from luss_mm.functional.label_codec import decode_label_map, encode_label_map
from luss_mm.work_dir.atomic_files import write_atomically

IGNORE_INDEX = 1000  # ImageNet-S's
# A label map of few colours is packed four times as fast if nothing is predicted from neighbours,
# into as many blocks of a disk. Older versions of OpenCV cannot choose it.
PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):
    PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def read_label_map(path: str | Path) -> np.ndarray:
    """Ids R + 256 G of an RGB PNG, int32. Shape (H, W).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an 8-bit RGB image or uses the blue channel.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such mask.')
    try:
        # The header first: it refuses a size for which OpenCV would take all the memory.
        image = decode_image(path, read_header(path).format, cv2.IMREAD_UNCHANGED)
    except ImageFileError:
        image = None
    if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = 'unreadable' if image is None else f'of shape {image.shape}, {image.dtype}'
        raise ValueError(
            f'{path}: {shape}; an ImageNet-S mask is an RGB PNG with id = R + '
            f'256 * G. Other codings: python tools/convert_masks.py {Path(path).parent}'
        )
    if image[..., 0].any():
        raise ValueError(
            f'{path}: its blue channel is not 0, so it is no ImageNet-S mask (id = R + 256 * G). '
            f'Other codings: python tools/convert_masks.py {Path(path).parent}'
        )
    return decode_label_map(image[..., ::-1])


def save_label_map(path: Path, labels: np.ndarray) -> None:
    """Write an ImageNet-S coded PNG.

    Raises:
        OSError: If it cannot be written.
    """
    encoded, png = cv2.imencode('.png', encode_label_map(labels)[..., ::-1], PNG_OPTIONS)
    if not encoded:
        raise OSError(f'{path}: OpenCV could not encode a label map of shape {labels.shape}')
    # Each on the disk by itself would take far longer; `FinishedShards` looks at the sizes.
    write_atomically(path, png.data, sync=False)
