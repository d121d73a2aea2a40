"""Images made of others or of nothing: collages, and tiny shapes for the five-minute tour."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmseg.registry import TASK_UTILS

from luss_mm.datasets.image_index import scan_images
from luss_mm.datasets.image_walk import category_folders
from luss_mm.datasets.mask_files import read_label_map, save_label_map
from luss_mm.datasets.transforms import LoadBoundedImage
from luss_mm.work_dir.atomic_files import write_atomically

IMAGES, MASKS = 'validation', 'validation-segmentation'
JPEG_QUALITY = 95


def make_collages(data_root: str | Path, out: str | Path, pairs: int, seed: int = 0) -> None:
    """Write `out/validation` and `out/validation-segmentation` with pairs of photographs.

    A pair has two categories and the height of the lower photograph. It lies in the category folder
    of its left one. The left ones take the categories in turn, so that the output has the category
    folders of the source, and with them its ids.

    Args:
        data_root: In the ImageNet-S layout, with validation images in category folders and masks.
        out: Must not have these two folders.
        pairs: Number of collages, at least one a category.
        seed: Seed of all choices.

    Raises:
        FileExistsError: If there is such a folder.
        FileNotFoundError: If images or masks are missing.
        ValueError: If there are fewer than two categories or fewer pairs than categories, or a file
            cannot be read.
    """
    data_root, out = Path(data_root), Path(out)
    for folder in (IMAGES, MASKS):
        if (out / folder).exists():
            raise FileExistsError(f'{out / folder}: exists already. Choose another folder.')
    images = _images_by_category(data_root / IMAGES)
    if len(images) < 2 or pairs < len(images):
        raise ValueError(
            f'{pairs} pairs of {len(images)} categories: there must be two categories or more, and '
            'at least as many pairs'
        )
    for number, names in enumerate(_draw_pairs(images, pairs, seed)):
        pictures, masks = zip(*(_read(data_root, name) for name in names), strict=True)
        height = min(len(picture) for picture in pictures)
        place = Path(names[0]).parent / f'collage_{number:06d}'
        picture = np.hstack([_resized(p, height, cv2.INTER_AREA) for p in pictures])
        mask = np.hstack([_resized(m, height, cv2.INTER_NEAREST_EXACT) for m in masks])
        _write(out / IMAGES / f'{place}.jpg', picture)
        save_label_map(out / MASKS / f'{place}.png', mask)


def _images_by_category(folder: Path) -> list[list[str]]:
    """Relative paths `<category>/<name>` of the images of each category folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder')
    return [
        [f'{name}/{image}' for image in scan_images(folder / name)]
        for name in category_folders(folder)
    ]


def _draw_pairs(images: list[list[str]], pairs: int, seed: int) -> Iterator[tuple[str, str]]:
    """Left and right photograph of each pair; the left ones repeat only when all were taken."""
    rng = np.random.default_rng(seed)
    left = [rng.permutation(names).tolist() for names in images]
    for number in range(pairs):
        turn, category = divmod(number, len(images))
        others = [*images[:category], *images[category + 1 :]]
        right = others[rng.integers(len(others))]
        yield left[category][turn % len(left[category])], right[rng.integers(len(right))]


def _read(data_root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """BGR image (H, W, 3) and ids (H, W) of a photograph."""
    mask_path = (data_root / MASKS / name).with_suffix('.png')
    image = LoadBoundedImage(max_side=None)(dict(img_path=str(data_root / IMAGES / name)))['img']
    mask = read_label_map(mask_path)
    if mask.shape != image.shape[:2]:
        raise ValueError(f'{mask_path}: {mask.shape}, its image is {image.shape[:2]} (h, w)')
    return image, mask


def _resized(picture: np.ndarray, height: int, interpolation: int) -> np.ndarray:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return cv2.resize(picture, (width, height), interpolation=interpolation)


SPLITS = ('train', 'validation')  # the position is the split's part of an image's seed
AREA = (0.2, 0.36)  # share of the image that the object covers
TURN = 0.4  # largest rotation in radians, to either side
STRETCH = 0.12  # largest logarithm of the stretch along x, which is undone in area along y
PERIOD = (7.0, 10.0)  # of the textures, in pixels of an image of 96 pixels
SUPERSAMPLING = 4

# Colours vary less than textures do: from widely varying colours, a few hundred steps of
# self-supervision learn to tell images by colour, and the clusters of embeddings are colours too.
DARK, LIGHT = (0.12, 0.24), (0.76, 0.88)  # brightness of the object's two colours
BACKGROUND = (0.35, 0.65)  # brightness
TINT = 0.1  # of any colour: how far a channel is from the brightness


@TASK_UTILS.register_module()
class RenderTinyShapes:
    """Writes a data set of textured shapes in the ImageNet-S layout.

    A category is a shape together with a texture; everything else (both colours of the object, its
    size, place, rotation and stretch, and the background) is drawn from the same distribution for
    all categories. Image i of a split is drawn from the seed (seed, split, i) alone, so it does not
    depend on how many images there are.

    Args:
        num_train: Number of training images; they get no masks.
        num_validation: Number of validation images, with masks.
        image_size: Height and width in pixels, at least 32.
        seed: Seed of all images, >= 0.

    Raises:
        ValueError: If a count is negative or the images are too small for the textures.
    """

    def __init__(
        self, num_train: int, num_validation: int, image_size: int = 96, seed: int = 0
    ) -> None:
        if num_train < 0 or num_validation < 0:
            raise ValueError(
                f'num_train {num_train} and num_validation {num_validation} must be >= 0'
            )
        if image_size < 32:
            raise ValueError(f'image_size {image_size}: textures need at least 32 pixels')
        self.counts = dict(zip(SPLITS, (num_train, num_validation), strict=True))
        self.image_size = image_size
        self.seed = seed

    def inputs(self) -> dict[str, str]:
        """It reads no files."""
        return {}

    def __call__(self, directory: Path) -> None:
        """Write `train/`, `validation/` and `validation-segmentation/` with a folder a category.

        Args:
            directory: Data root. Existing images of the same names are replaced.

        Raises:
            OSError: If an image cannot be written.
        """
        directory = Path(directory)
        for split, count in self.counts.items():
            (directory / split).mkdir(parents=True, exist_ok=True)  # also for no images
            for index in range(count):
                rgb, labels = self.render(split, index)
                place = Path(CATEGORIES[index % len(CATEGORIES)]) / f'{split}_{index:06d}'
                _write(directory / split / f'{place}.JPEG', rgb[..., ::-1])
                if split == 'validation':
                    save_label_map(directory / f'{split}-segmentation' / f'{place}.png', labels)

    def render(self, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw one image; its category is number `index % len(CATEGORIES)`.

        Args:
            split: `'train'` or `'validation'`.
            index: Number of the image in its split, >= 0.

        Returns:
            RGB image, uint8 (image_size, image_size, 3), and label map, int32
            (image_size, image_size): the rank of the category, from 1, on the object, 0 elsewhere.
        """
        rng = np.random.default_rng([self.seed, SPLITS.index(split), index])
        number = index % len(CATEGORIES)
        category = _SHAPES[CATEGORIES[number]]
        outline, centre, angle = _place(rng, category.outline, self.image_size)
        cover = _coverage(outline, self.image_size)  # (H, W)
        first, second = _draw_object_colours(rng)
        ink = _draw_texture(rng, category.texture, centre, angle, self.image_size)  # (H, W)
        background = _draw_background(rng, self.image_size)  # (H, W, 3)
        filling = first + (second - first) * ink[..., None]
        image = background + (filling - background) * cover[..., None]
        rgb = (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)
        return rgb, np.where(cover > 0.5, number + 1, 0).astype(np.int32)


# ---- outlines: polygons of area 1 around the origin, y down. Shape (n, 2)


def _unit_area(points: np.ndarray) -> np.ndarray:
    x, y = points.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return (points - (points.min(0) + points.max(0)) / 2) / np.sqrt(area)


def _round(*radii: float, points: int = 64, start: float = -90.0) -> np.ndarray:
    """Polygon whose corners cycle through the radii: one radius = regular, two = star."""
    angles = np.radians(start) + np.arange(points) * (2 * np.pi / points)
    radius = np.resize(radii, points)
    return _unit_area(radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _cross(arm: float = 0.36) -> np.ndarray:
    quarter = np.array([[arm, -1], [arm, -arm], [1, -arm]])
    turns = [np.array([[c, -s], [s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return _unit_area(np.concatenate([quarter @ turn.T for turn in turns]))


def _moon(bite: float = 0.8) -> np.ndarray:
    """A unit disk without a smaller one whose edge goes through its centre."""
    tip = np.arccos(0.5 / bite)  # seen from the centre of the unit disk
    tip_of_bite = np.arctan2(np.sin(tip), np.cos(tip) - bite)
    outer = np.linspace(tip, 2 * np.pi - tip, 48)
    inner = np.linspace(2 * np.pi - tip_of_bite, tip_of_bite, 32)[1:-1]
    edge = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    bitten = bite * np.stack([1 + np.cos(inner), np.sin(inner)], axis=1)
    return _unit_area(np.concatenate([edge, bitten]))


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return _unit_area(np.stack([x, y], axis=1))


# ---- textures: waves, positive on about half of the plane, of slope about 2 pi where they are 0
# u, v: pixels along the object's axes in units of the common period. Shape (H, W)
# Finer ones would be grey after a network's first strides, and attention would overlook them.


def _stripes(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * u)


def _checks(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 1.5 * np.sin(1.35 * np.pi * u) * np.sin(1.35 * np.pi * v)


def _dots(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x, y = 1.6 * np.pi * u, 1.6 * np.pi * v / np.sqrt(3)
    return (np.cos(x + y) + np.cos(x - y) + np.cos(2 * y) + 0.25) / 1.3  # a hexagonal lattice


def _lattice(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    lines = np.maximum(np.cos(1.5 * np.pi * u), np.cos(1.5 * np.pi * v))
    return 1.1 * (lines - np.cos(np.pi * (1 - np.sqrt(0.5))))  # the lines cover half


def _rings(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 1.2 * np.sin(1.7 * np.pi * np.hypot(u, v))


def _blotches(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = u.shape[0]
    period = 1 / np.hypot(u[0, 1] - u[0, 0], v[0, 1] - v[0, 0])  # pixels
    cells = int(np.ceil(size / period * 1.2))
    return 1.4 * cv2.resize(_noise(rng, cells, 1), (size, size), interpolation=cv2.INTER_CUBIC)


def _zigzag(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    triangle = np.abs((u / 2.2) % 1 - 0.5) * 2.2  # slope 1: corners of 90 degrees
    return 1.4 * np.sin(1.4 * np.pi * (v + triangle))


# ---- categories


@dataclass(frozen=True)
class _Shape:
    outline: np.ndarray
    texture: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


_SHAPES = {
    'blotched_moon': _Shape(_moon(), _blotches),
    'checked_disk': _Shape(_round(1.0), _checks),
    'dotted_triangle': _Shape(_round(1.0, points=3), _dots),
    'latticed_star': _Shape(_round(1.0, 0.55, points=10), _lattice),
    'ringed_cross': _Shape(_cross(), _rings),
    'striped_square': _Shape(_round(1.0, points=4), _stripes),
    'zigzag_heart': _Shape(_heart(), _zigzag),
}
CATEGORIES = tuple(sorted(_SHAPES))  # the id of a category is its position here, from 1


# ---- what the categories have in common


def _noise(rng: np.random.Generator, cells: int, channels: int) -> np.ndarray:
    shape = (cells, cells, channels) if channels > 1 else (cells, cells)
    return rng.standard_normal(shape, dtype=np.float32)


def _draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A gradient between two colours, with slow clouds and a faint grain. Shape (H, W, 3)."""
    start = _draw_colour(rng, BACKGROUND)
    end = start + (_draw_colour(rng, BACKGROUND) - start) * np.float32(rng.uniform(0.2, 0.6))
    along = _axes(size, (0.5 * size, 0.5 * size), rng.uniform(0, 2 * np.pi))[0] / size + 0.5
    clouds = _noise(rng, int(rng.integers(3, 6)), 3) * np.float32(rng.uniform(0.02, 0.06))
    grain = _noise(rng, size, 1) * np.float32(rng.uniform(0, 0.03))
    slow = cv2.resize(clouds, (size, size), interpolation=cv2.INTER_CUBIC)
    return start + (end - start) * along[..., None] + slow + grain[..., None]


def _draw_object_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours that differ enough in brightness for the texture to be seen, in either order."""
    pair = _draw_colour(rng, DARK), _draw_colour(rng, LIGHT)
    return pair if rng.random() < 0.5 else pair[::-1]


def _draw_colour(rng: np.random.Generator, brightness: tuple[float, float]) -> np.ndarray:
    """An RGB colour of a brightness between two and of little saturation, float32. Shape (3,)."""
    colour = rng.uniform(*brightness) + rng.uniform(-TINT, TINT, 3)
    return colour.clip(0, 1).astype(np.float32)


def _place(
    rng: np.random.Generator, outline: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Turn, stretch, enlarge and move an outline so that all of it is inside of the image.

    Returns:
        Corners in pixels (n, 2), the object's centre in pixels (2,) and its rotation in radians.
    """
    angle = rng.uniform(-TURN, TURN)
    stretch = np.exp(rng.uniform(-STRETCH, STRETCH))
    scale = size * np.sqrt(rng.uniform(*AREA))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    points = scale * (outline * [stretch, 1 / stretch]) @ turn.T
    points *= min(1, (size - 2) / np.ptp(points, axis=0).max())  # the rare one too long to fit
    low, high = 1 - points.min(0), size - 1 - points.max(0)
    centre = low + (high - low) * rng.uniform(0, 1, 2)
    return points + centre, centre, angle


def _coverage(outline: np.ndarray, size: int) -> np.ndarray:
    """Share of each pixel inside of a polygon, float32 in [0, 1]. Shape (size, size)."""
    fine = np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING), np.uint8)
    corners = np.round((outline * SUPERSAMPLING - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(fine, [corners], 255, shift=4)
    return cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _draw_texture(
    rng: np.random.Generator, texture: Callable, centre: np.ndarray, angle: float, size: int
) -> np.ndarray:
    """How much of the second colour a pixel takes, float32 in [0, 1]. Shape (size, size)."""
    period = rng.uniform(*PERIOD) * size / 96
    u, v = _axes(size, centre, angle)
    shift = rng.uniform(-0.5, 0.5, 2) if texture is not _rings else (0, 0)
    wave = texture(u / period + np.float32(shift[0]), v / period + np.float32(shift[1]), rng)
    # a sine of this period rises by 2 pi / period a pixel: edges become one pixel wide
    return (0.5 + wave * np.float32(period / (2 * np.pi))).clip(0, 1)


def _axes(size: int, centre: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Position of every pixel along two axes turned by an angle, float32. Two of (H, W)."""
    x = np.arange(size, dtype=np.float32)[None] + np.float32(0.5 - centre[0])
    y = np.arange(size, dtype=np.float32)[:, None] + np.float32(0.5 - centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _write(path: Path, image: np.ndarray) -> None:
    """A JPEG of a BGR image."""
    _, content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_atomically(path, content.tobytes(), sync=False)
