"""Colour changes of uint8 RGB images; each draws from numpy's global generator."""

import cv2
import numpy as np

GREY_WEIGHTS = (0.299, 0.587, 0.114)


def jitter_colours(
    image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float
) -> np.ndarray:
    """Random brightness, contrast, saturation and hue in random order (torchvision's ColorJitter).

    Args:
        image: RGB uint8. Shape (H, W, 3).
        brightness: Factor drawn from [max(0, 1 - x), 1 + x].
        contrast: Likewise, about the mean grey.
        saturation: Likewise, about each pixel's grey.
        hue: Shift drawn from [-x, x] turns of the colour circle.

    Returns:
        RGB uint8 of the same shape.
    """
    factors = [np.random.uniform(max(0, 1 - x), 1 + x) for x in (brightness, contrast, saturation)]
    shift = np.random.uniform(-hue, hue)
    for operation in np.random.permutation(4):
        if operation == 0:
            image = change_brightness(image, factors[0])
        elif operation == 1:
            image = change_contrast(image, factors[1])
        elif operation == 2:
            image = change_saturation(image, factors[2])
        else:
            image = shift_hue(image, shift)
    return image


def change_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all values by a factor."""
    return cv2.convertScaleAbs(image, alpha=factor)


def change_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Stretch all values about the image's mean grey."""
    mean = round(float(np.dot(cv2.mean(image)[:3], GREY_WEIGHTS)))
    table = np.arange(256, dtype=np.float32) * factor + mean * (1 - factor)
    return cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8))


def change_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Stretch all colours about each pixel's grey."""
    return cv2.addWeighted(image, factor, to_grey(image), 1 - factor, 0)


def shift_hue(image: np.ndarray, turns: float) -> np.ndarray:
    """Turn the colour circle; uint8 hue has 180 steps in OpenCV."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(turns * 180)) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Grey image with three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with standard deviation sigma in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)
