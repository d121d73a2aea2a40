"""Writing of test images and masks, without the package's own coding."""

import cv2
import numpy as np


def write_image(path, bgr):
    """Write an image (H, W, 3) in [0, 255] or a grey or RGBA one, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(bgr)
    array = array if array.dtype == np.uint16 else array.astype(np.uint8)
    is_jpeg = path.suffix.lower() in ('.jpg', '.jpeg')
    assert cv2.imwrite(str(path), array, [cv2.IMWRITE_JPEG_QUALITY, 100] if is_jpeg else [])
    return path


def write_label_map(path, labels):
    """Write ids (H, W) pixel by pixel as R + 256 G."""
    bgr = np.zeros((*np.shape(labels), 3), np.uint8)
    for (row, column), label in np.ndenumerate(labels):
        bgr[row, column] = 0, label // 256, label % 256
    return write_image(path, bgr)
