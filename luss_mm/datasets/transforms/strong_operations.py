"""Strong augmentation of images with their label maps: colour operations and movements."""

from collections.abc import Callable

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from luss_mm.datasets.transforms.strong_colours import COLOUR_OPERATIONS, apply_operations

SCALE = (0.5, 2.0)
LARGEST_SHEAR = 0.3  # pixels sideways for each pixel away from the centre
LARGEST_ROTATION = 45.0  # degrees

# Where each pixel of the result comes from, (x, y) = matrix @ (x', y', 1), and its (width, height).
Movement = tuple[np.ndarray, tuple[int, int]]


def scale(width: int, height: int) -> Movement:
    """Another size; the same factor for both sides, but for rounding to whole pixels."""
    factor = np.random.uniform(*SCALE)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    step_x, step_y = width / size[0], height / size[1]
    # Pixels are areas: the centre of the first one lies half a pixel from the border.
    return np.array([[step_x, 0, (step_x - 1) / 2], [0, step_y, (step_y - 1) / 2]]), size


def flip(width: int, height: int) -> Movement:
    """Left and right exchanged."""
    return np.array([[-1.0, 0, width - 1], [0, 1, 0]]), (width, height)


def shear(width: int, height: int) -> Movement:
    """Rows shifted along x or columns along y, in proportion to their distance from the centre."""
    linear = np.eye(2)
    linear[(0, 1) if np.random.rand() < 0.5 else (1, 0)] = np.random.uniform(
        -LARGEST_SHEAR, LARGEST_SHEAR
    )
    return _about_centre(linear, width, height)


def rotate(width: int, height: int) -> Movement:
    """Turned about the centre, anticlockwise if positive."""
    angle = np.deg2rad(np.random.uniform(-LARGEST_ROTATION, LARGEST_ROTATION))
    cosine, sine = np.cos(angle), np.sin(angle)
    return _about_centre(np.array([[cosine, -sine], [sine, cosine]]), width, height)


MOVEMENTS: dict[str, Callable[[int, int], Movement]] = dict(
    scale=scale, flip=flip, shear=shear, rotate=rotate
)


def move_image(image: np.ndarray, movement: Movement, fill: tuple[float, ...]) -> np.ndarray:
    """Bilinear resampling; `fill` exactly where `move_labels` has ignored pixels.

    Args:
        image: uint8. Shape (h, w, 3).
        movement: See `Movement`.
        fill: Value of each channel where there is no image.

    Returns:
        uint8, of the movement's size.
    """
    matrix, size = movement
    # A constant border would mix the fill into pixels that keep their label.
    moved = cv2.warpAffine(
        image,
        matrix,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    uncovered = move_labels(np.zeros(image.shape[:2], np.int32), movement, ignore_index=1)
    moved[uncovered == 1] = fill
    return moved


def move_labels(labels: np.ndarray, movement: Movement, ignore_index: int) -> np.ndarray:
    """Nearest neighbour resampling; `ignore_index` where there is no image.

    Args:
        labels: Ids below 2^24, any integers. Shape (h, w).
        movement: See `Movement`.
        ignore_index: Id of uncovered pixels.

    Returns:
        int32, of the movement's size.
    """
    matrix, size = movement
    # OpenCV warps no int32; float32 holds these ids exactly.
    moved = cv2.warpAffine(
        labels.astype(np.float32),
        matrix,
        size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=ignore_index,
    )
    return moved.astype(np.int32)


@TRANSFORMS.register_module()
class RandomStrongOperations(BaseTransform):
    """Distinct operations out of 15 in random order: the 11 of colours and four movements.

    Movements take the label maps along: a scale of 0.5 to 2 (the size changes), a horizontal flip,
    a shear of up to 0.3 and a rotation of up to 45 degrees (the size stays).

    Args:
        num: How many operations.
        ignore_index: Id of label pixels without an image.
        fill: Colour of pixels without an image, BGR in [0, 255].

    Changes:
        img: uint8 BGR, shape (h, w, 3). img_shape. Every map in seg_fields: int32 once moved.

    Raises:
        ValueError: If there are not that many operations.

    Source: Learning Pseudo Labels (PCT), the augmentation of its images with masks.
    """

    def __init__(
        self,
        num: int = 2,
        ignore_index: int = 1000,
        fill: tuple[float, float, float] = (0, 0, 0),
    ) -> None:
        self.names = [*COLOUR_OPERATIONS, *MOVEMENTS]
        if not 0 <= num <= len(self.names):
            raise ValueError(f'num={num}: expected 0 to {len(self.names)}, all operations.')
        self.num = num
        self.ignore_index = ignore_index
        self.fill = tuple(fill)

    def transform(self, results: dict) -> dict:
        """Change results['img'] and its label maps."""
        for name in np.random.permutation(self.names)[: self.num]:
            if name in MOVEMENTS:
                self._move(results, MOVEMENTS[name])
            else:
                results['img'] = apply_operations(results['img'], [name])
        return results

    def _move(self, results: dict, draw: Callable[[int, int], Movement]) -> None:
        height, width = results['img'].shape[:2]
        movement = draw(width, height)
        results['img'] = move_image(results['img'], movement, self.fill)
        results['img_shape'] = results['img'].shape[:2]
        for key in results.get('seg_fields', []):
            results[key] = move_labels(results[key], movement, self.ignore_index)


def _about_centre(linear: np.ndarray, width: int, height: int) -> Movement:
    """The movement by a 2 x 2 matrix that leaves the middle of the image in its place."""
    centre = np.array([width - 1, height - 1]) / 2
    return np.column_stack([linear, centre - linear @ centre]), (width, height)
