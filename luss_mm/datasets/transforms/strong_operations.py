"""Strong views of unlabelled images: colours, movements with label maps, CutMix boxes."""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from luss_mm.datasets.transforms import multi_crop

FACTOR = (0.05, 0.95)
BLUR_SIGMA = (0.1, 2.0)  # pixels
POSTERISE_BITS = (4, 8)
SOLARISE_THRESHOLD = (1, 256)
HUE_TURNS = (0.0, 0.5)


def blur(image: Tensor) -> Tensor:
    """Gaussian blur by OpenCV, which is much faster than torchvision's on a CPU."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())  # (H, W, 3)
    return torch.from_numpy(multi_crop.blur(pixels, np.random.uniform(*BLUR_SIGMA))).permute(
        2, 0, 1
    )


def posterise(image: Tensor) -> Tensor:
    """Keep the 4 to 8 highest bits."""
    return torchvision.posterize(image, _draw_whole(POSTERISE_BITS))


def solarise(image: Tensor) -> Tensor:
    """Invert the values from a threshold on; 256 inverts none (torchvision refuses it)."""
    threshold = _draw_whole(SOLARISE_THRESHOLD)
    return image if threshold > 255 else torchvision.solarize(image, threshold)


# Each takes an RGB uint8 tensor (3, H, W), draws its strength from numpy's global generator and
# returns the like. Bounds: methods of DSSN; factors below 1 weaken.
COLOUR_OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = dict(
    identity=lambda image: image,
    autocontrast=torchvision.autocontrast,
    equalise=torchvision.equalize,
    blur=blur,
    contrast=lambda image: torchvision.adjust_contrast(image, np.random.uniform(*FACTOR)),
    brightness=lambda image: torchvision.adjust_brightness(image, np.random.uniform(*FACTOR)),
    colour=lambda image: torchvision.adjust_saturation(image, np.random.uniform(*FACTOR)),
    sharpness=lambda image: torchvision.adjust_sharpness(image, np.random.uniform(*FACTOR)),
    posterise=posterise,
    solarise=solarise,
    hue=lambda image: torchvision.adjust_hue(image, np.random.uniform(*HUE_TURNS)),
)


# As DSSN's code draws them: 4 to 7 bits, thresholds up to 255, hues either way round.
DSSN_OPERATIONS = COLOUR_OPERATIONS | dict(
    posterise=lambda image: torchvision.posterize(image, _draw_whole((4, 7))),
    solarise=lambda image: torchvision.solarize(image, _draw_whole((1, 255))),
    hue=lambda image: torchvision.adjust_hue(
        image, np.random.uniform(*HUE_TURNS) * np.random.choice((-1, 1))
    ),
)
POOLS = dict(distinct=COLOUR_OPERATIONS, dssn=DSSN_OPERATIONS)


def apply_operations(
    image: np.ndarray,
    names: Sequence[str],
    pool: Mapping[str, Callable[[Tensor], Tensor]] = COLOUR_OPERATIONS,
) -> np.ndarray:
    """Apply colour operations in order.

    Args:
        image: BGR uint8; stays as it is. Shape (h, w, 3).
        names: Keys of the pool.
        pool: Operations like those of COLOUR_OPERATIONS.

    Returns:
        A new BGR uint8 array, shape (h, w, 3).
    """
    pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
    for name in names:
        pixels = pool[name](pixels)
    rgb = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


@TRANSFORMS.register_module()
class RandomColourOperations(BaseTransform):
    """A few operations out of 11 in random order; places and label maps stay.

    DSSN's strong view has it after `DistortColours(jitter=(0.5, 0.5, 0.5, 0.25))`.

    Args:
        num: Least and largest number of operations; uniform, both included.
        pool: 'distinct': no operation twice. 'dssn', as the code of DSSN draws: each operation out
            of all of them, 4 to 7 bits, thresholds of 1 to 255 and hues either way round, where
            'distinct' has 4 to 8, 1 to 256 and one way.

    Changes:
        img: uint8 BGR, shape (h, w, 3).

    Raises:
        ValueError: If the bounds of `num` do not fit the pool, or there is no such pool.

    Source: Cubuk et al. 2020 (RandAugment), with the pool and the strengths of DSSN.
    """

    def __init__(self, num: tuple[int, int] = (1, 3), pool: str = 'distinct') -> None:
        if pool not in POOLS:
            raise ValueError(f'pool is one of {", ".join(POOLS)}, not {pool!r}')
        low, high = num
        if not 0 <= low <= high <= len(COLOUR_OPERATIONS):
            raise ValueError(
                f'num={tuple(num)}: expected 0 <= least <= largest <= {len(COLOUR_OPERATIONS)}.'
            )
        self.num = (low, high)
        self.pool = pool

    def transform(self, results: dict) -> dict:
        """Change results['img']."""
        pool = POOLS[self.pool]
        if self.pool == 'dssn':
            names = np.random.choice(list(pool), _draw_whole(self.num))
        else:
            names = np.random.permutation(list(pool))[: _draw_whole(self.num)]
        results['img'] = apply_operations(results['img'], list(names), pool)
        return results


def _draw_whole(bounds: tuple[int, int]) -> int:
    """Uniform whole number, both bounds included."""
    return int(np.random.randint(bounds[0], bounds[1] + 1))


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


def blend(first: Tensor, second: Tensor, share: float) -> Tensor:
    """(1 - share) first + share second, cut off at 0 and 255 and rounded down, as Pillow does.

    Args:
        first: uint8, any shape.
        second: The same.
        share: Share of the second; beyond 1 it goes away from the first.
    """
    mixed = first.float() + share * (second.float() - first.float())
    return mixed.clamp(0, 255).to(torch.uint8)


def shear_both(width: int, height: int) -> Movement:
    """Sheared along both axes at once, each by its own drawn amount."""
    linear = np.eye(2)
    linear[0, 1], linear[1, 0] = np.random.uniform(-LARGEST_SHEAR, LARGEST_SHEAR, size=2)
    # Where pixels go to; a movement says where they come from.
    return _about_centre(np.linalg.inv(linear), width, height)


def perhaps_flip(width: int, height: int) -> Movement:
    """Left and right exchanged with probability .5, else nothing."""
    if np.random.rand() < 0.5:
        return flip(width, height)
    return np.eye(2, 3), (width, height)


def _factor() -> float:
    return np.random.uniform(0.5, 1.5)


# Learning Pseudo Labels (PCT): nine operations of colours and four movements. Shares of the image
# that stay as they are lie in 0 to 1, but for equalise in .5 to 1.5.
PCT_COLOURS: dict[str, Callable[[Tensor], Tensor]] = dict(
    autocontrast=lambda image: blend(
        torchvision.autocontrast(image), image, np.random.uniform(0, 1)
    ),
    brightness=lambda image: torchvision.adjust_brightness(image, _factor()),
    colour=lambda image: torchvision.adjust_saturation(image, _factor()),
    contrast=lambda image: torchvision.adjust_contrast(image, _factor()),
    equalise=lambda image: blend(torchvision.equalize(image), image, _factor()),
    invert=lambda image: blend(torchvision.invert(image), image, np.random.uniform(0, 1)),
    posterise=lambda image: torchvision.posterize(image, np.random.randint(1, 9)),
    sharpness=lambda image: torchvision.adjust_sharpness(image, np.random.uniform(0, 1)),
    solarise=lambda image: torchvision.solarize(image, np.random.uniform(0, 255)),
)
PCT_MOVEMENTS: dict[str, Callable[[int, int], Movement]] = dict(
    scale=scale, flip=perhaps_flip, shear=shear_both, rotate=rotate
)


@TRANSFORMS.register_module()
class PCTOperations(RandomStrongOperations):
    """The operations of Learning Pseudo Labels as its code draws them.

    0 to `num` operations of colours (uniform, nine kinds), then movements (four kinds) up to `num`
    in all; each kind may come twice. So half of the operations are movements, where
    `RandomStrongOperations` has 4 in 15. Arguments and changes: as `RandomStrongOperations`.
    """

    def transform(self, results: dict) -> dict:
        """Change results['img'] and its label maps."""
        colours = np.random.randint(self.num + 1)
        names = np.random.choice(list(PCT_COLOURS), colours)
        if colours:
            results['img'] = apply_operations(results['img'], list(names), PCT_COLOURS)
        for name in np.random.choice(list(PCT_MOVEMENTS), self.num - colours):
            self._move(results, PCT_MOVEMENTS[name])
        return results


def _about_centre(linear: np.ndarray, width: int, height: int) -> Movement:
    """The movement by a 2 x 2 matrix that leaves the middle of the image in its place."""
    centre = np.array([width - 1, height - 1]) / 2
    return np.column_stack([linear, centre - linear @ centre]), (width, height)


def draw_box(
    height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw a box of random area and shape that lies wholly inside an image.

    The area comes first and is kept. The shape is drawn among those that fit, which is what drawing
    again until one fits would give. Where no allowed shape fits (very long images), the box spans
    the short side.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        area: Bounds of the box's share of the image area; uniform.
        ratio: Bounds of box width / box height; log-uniform, so wide and tall ones are alike.

    Returns:
        left, top, box width, box height in pixels; the place is uniform. At least one pixel.
    """
    pixels = height * width * np.random.uniform(*area)
    fitting = np.clip(ratio, pixels / height**2, width**2 / pixels)
    aspect = np.exp(np.random.uniform(*np.log(fitting)))
    box_width = min(width, max(1, round(np.sqrt(pixels * aspect))))
    box_height = min(height, max(1, round(np.sqrt(pixels / aspect))))
    left = np.random.randint(width - box_width + 1)
    top = np.random.randint(height - box_height + 1)
    return left, top, box_width, box_height


def draw_box_anywhere(
    height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw a box as the code of DSSN does: shape and corner again until the box lies inside.

    box height / box width is uniform, so more boxes are tall than wide, and large boxes, which fit
    in few places, keep the shapes that fit in most. Arguments and result as of `draw_box`, but for
    the ratio, which is height / width here; sizes are rounded down, a box may have no pixel.
    """
    pixels = height * width * np.random.uniform(*area)
    fitting = np.clip(ratio, pixels / width**2, height**2 / pixels)  # others never lie inside
    while True:
        aspect = np.random.uniform(*fitting)
        box_width, box_height = int(np.sqrt(pixels / aspect)), int(np.sqrt(pixels * aspect))
        left, top = np.random.randint(width), np.random.randint(height)
        if left + box_width <= width and top + box_height <= height:
            return left, top, box_width, box_height


SHAPES = dict(log_uniform=draw_box, uniform=draw_box_anywhere)


@TRANSFORMS.register_module()
class DrawCutMixBox(BaseTransform):
    """Draws where another image will be pasted into this view; see `functional.cutmix`.

    It comes after the last transform that moves pixels, since the box is in pixels of the view.
    Every view draws its own.

    Args:
        prob: Probability of a box.
        area: Bounds of the box's share of the view's area, padding included; uniform.
        ratio: Bounds of box width / box height; log-uniform.
        shapes: 'log_uniform', or 'uniform' as DSSN's code draws them (`draw_box_anywhere`), where
            `ratio` bounds box height / box width.

    Sets:
        cutmix_box: (left, top, width, height) in pixels, or None.

    Raises:
        ValueError: If the bounds are no shares or ratios, or there are no such shapes.

    Source: Yun et al. 2019, CutMix; the bounds are those of DSSN.
    """

    def __init__(
        self,
        prob: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        shapes: str = 'log_uniform',
    ) -> None:
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f'area={tuple(area)}: expected 0 < smallest <= largest <= 1.')
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f'ratio={tuple(ratio)}: expected 0 < smallest <= largest.')
        if shapes not in SHAPES:
            raise ValueError(f'shapes is one of {", ".join(SHAPES)}, not {shapes!r}')
        self.draw = SHAPES[shapes]
        self.prob = prob
        self.area = tuple(area)
        self.ratio = tuple(ratio)

    def transform(self, results: dict) -> dict:
        """Set results['cutmix_box']."""
        drawn = np.random.rand() < self.prob
        height, width = results['img'].shape[:2]
        results['cutmix_box'] = self.draw(height, width, self.area, self.ratio) if drawn else None
        return results
