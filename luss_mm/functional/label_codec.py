"""Label maps as images: ids in colours that files hold, and colours that people see."""

from functools import cache

import numpy as np

LEVELS = 16  # values a channel can take: 16 ** 3 = 4096 candidate colours
MAX_IDS = LEVELS**3


def category_palette(num_ids: int) -> np.ndarray:
    """Colours of the ids 0 .. num_ids - 1.

    Every next colour is the one farthest, in CIELAB, from all colours before it. So a shorter
    palette is the beginning of a longer one, colours never repeat, and the first differ the most.

    Args:
        num_ids: Number of ids including 0 (others), in [1, 4096].

    Returns:
        RGB colours, uint8; id 0 is black. Shape (num_ids, 3).

    Raises:
        ValueError: If num_ids is out of range.

    Source: farthest-point order, Gonzalez 1985, "Clustering to minimize the maximum intercluster
    distance".
    """
    if not 1 <= num_ids <= MAX_IDS:
        raise ValueError(f'a palette has 1 to {MAX_IDS} colours, not {num_ids}')
    # rounded up to a power of two: few different lengths to compute and to keep
    length = min(MAX_IDS, max(64, 1 << (num_ids - 1).bit_length()))
    return _farthest_colours(length)[:num_ids].copy()


@cache
def _farthest_colours(length: int) -> np.ndarray:
    """The first `length` colours of the farthest-point order that starts with black."""
    steps = np.arange(LEVELS) * (255 // (LEVELS - 1))
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), -1).reshape(-1, 3)
    lab = _lab_of_srgb(candidates)  # (4096, 3)
    order = np.zeros(length, dtype=np.int64)  # candidate 0 is black
    distance = ((lab - lab[0]) ** 2).sum(1)
    for i in range(1, length):
        order[i] = distance.argmax()  # the first of equals: deterministic
        distance = np.minimum(distance, ((lab - lab[order[i]]) ** 2).sum(1))
    return candidates[order].astype(np.uint8)


def _lab_of_srgb(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB in [0, 255], by IEC 61966-2-1 and CIE 15. Shape (N, 3)."""
    s = rgb / 255.0
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ (to_xyz / to_xyz.sum(1, keepdims=True)).T  # relative to white
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, a, b = 116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])
    return np.stack([lightness, a, b], axis=1)


MAX_ID = 65535


def encode_label_map(labels: np.ndarray) -> np.ndarray:
    """Turn integer ids into the colours that ImageNet-S stores them as.

    Args:
        labels: Ids in [0, 65535], any integer dtype. Shape (H, W).

    Returns:
        RGB image, uint8, with R = id % 256, G = id // 256, B = 0. Shape (H, W, 3).
    """
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
