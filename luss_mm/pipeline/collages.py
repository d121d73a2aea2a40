"""Images that show two categories: photographs of a data set side by side, with their masks."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from luss_mm.datasets.category_folders import category_folders
from luss_mm.datasets.image_index import scan_images
from luss_mm.datasets.label_map_file import read_label_map, save_label_map
from luss_mm.datasets.transforms.loading import LoadBoundedImage
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
        seed: Of all choices.

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
        _write_jpeg(out / IMAGES / f'{place}.jpg', picture)
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


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    _, content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_atomically(path, content.tobytes(), sync=False)
