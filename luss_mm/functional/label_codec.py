"""The ImageNet-S coding of label maps: id = R + 256 * G in an RGB image, B unused."""

import numpy as np

MAX_ID = 65535


def encode_label_map(labels: np.ndarray) -> np.ndarray:
    """Turn integer ids into the colours that ImageNet-S stores them as.

    Args:
        labels: Ids in [0, 65535], any integer dtype. Shape (H, W).

    Returns:
        RGB image, uint8, with R = id % 256, G = id // 256, B = 0. Shape (H, W, 3).

    Raises:
        ValueError: If the labels are not a two-dimensional integer array or an id does not fit.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'a label map is (H, W) integer, got {labels.shape} {labels.dtype}')
    if labels.size and (labels.min() < 0 or labels.max() > MAX_ID):
        raise ValueError(
            f'label ids {labels.min()} to {labels.max()} do not fit into [0, {MAX_ID}]'
        )
    wide = labels.astype(np.uint16)  # uint8 arithmetic would overflow at id 256
    return np.stack([wide % 256, wide // 256, np.zeros_like(wide)], axis=-1).astype(np.uint8)


def decode_label_map(rgb: np.ndarray) -> np.ndarray:
    """Turn the colours of an ImageNet-S mask into integer ids.

    Args:
        rgb: RGB image, uint8. Shape (H, W, 3).

    Returns:
        Ids R + 256 * G, int32. Shape (H, W).

    Raises:
        ValueError: If the image is not RGB uint8.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f'an ImageNet-S mask is RGB uint8 (H, W, 3), got {rgb.shape} {rgb.dtype}')
    return rgb[..., 0].astype(np.int32) + 256 * rgb[..., 1].astype(np.int32)
