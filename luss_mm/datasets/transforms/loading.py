"""Reading images and label maps, and the tags of an image."""

from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS
from PIL import Image

from luss_mm.datasets.image_file import (
    JPEG_FORMATS,
    REDUCED_FLAGS,
    ImageHeader,
    decode_image,
    read_header,
    turn_upright,
)
from luss_mm.datasets.mask_files import IGNORE_INDEX, read_label_map

LARGEST_RATIO = 512  # of the sides; the resizing of a recipe leaves such an image 4 rows of 256


@TRANSFORMS.register_module()
class LoadBoundedImage(BaseTransform):
    """Reads an image as BGR and shrinks it if it is very large.

    JPEGs far over the bound are decoded at 1/2, 1/4 or 1/8 directly (other formats would only be
    sub-sampled). Images are turned as people see them, by their EXIF orientation. A file that is
    truncated or cannot be decoded is an `ImageFileError`. A line of pixels becomes a band of 1/512
    of its length, so that later resizing leaves a row of it.

    Args:
        max_side: Bound on the longer side in pixels; None for no bound.
        stored_pixels: Ignore the EXIF orientation, as the masks of ImageNet-S and its toolbox do.

    Sets:
        img: uint8 BGR, shape (h, w, 3). img_shape: its (h, w). ori_shape: (H, W) without a bound.
    """

    def __init__(self, max_side: int | None = 2048, stored_pixels: bool = False) -> None:
        self.max_side = max_side
        self.stored_pixels = stored_pixels

    def transform(self, results: dict) -> dict:
        """Load the image at results['img_path']."""
        path = results['img_path']
        stored = read_header(path)
        reduced = REDUCED_FLAGS[self._reduction(stored)]
        image = decode_image(path, stored.format, reduced | cv2.IMREAD_IGNORE_ORIENTATION)
        if not self.stored_pixels:
            image = turn_upright(image, stored.orientation)
        _, height, width, _ = stored if self.stored_pixels else stored.turned()
        results['img'] = image = bounded(image, (height, width), self.max_side)
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = (height, width)
        return results

    def _reduction(self, stored: ImageHeader) -> int:
        if self.max_side is None or stored.format not in JPEG_FORMATS:
            return 1
        sides = stored.height, stored.width
        allowed = min(max(sides) // self.max_side, *sides)
        return max(r for r in REDUCED_FLAGS if r <= max(allowed, 1))


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Reads an ImageNet-S coded mask as integer ids.

    Args:
        match_image: Bring the label map to the size of the loaded image (training, where the image
            may have been bounded). False keeps the file's size (scoring at full resolution).

    Sets:
        gt_seg_map: int32 ids, shape (h, w). seg_fields: with 'gt_seg_map'.
    """

    def __init__(self, match_image: bool = True) -> None:
        self.match_image = match_image

    def transform(self, results: dict) -> dict:
        """Load the label map at results['seg_map_path'].

        Without that key an image passes unchanged if `match_image` is False: it can be predicted,
        and a metric says what it lacks.

        Raises:
            ValueError: If there is no label map to bring to the size of the image, or the sizes of
                both files differ.
        """
        if 'seg_map_path' not in results:
            if self.match_image:
                raise ValueError(
                    f'{results.get("img_path", "an image")}: has no label map. Set match_image='
                    f'False of {type(self).__name__} in pipelines of test images, or name the '
                    'folder of the label maps (seg_map_path)'
                )
            return results
        path = results['seg_map_path']
        labels = self.read(path)
        if labels.shape != tuple(results['ori_shape']):
            raise ValueError(
                f'{path}: the mask is {labels.shape}, its image {results["img_path"]} is '
                f'{tuple(results["ori_shape"])} (height, width). Both must have one size.'
            )
        if self.match_image and labels.shape != results['img'].shape[:2]:
            height, width = results['img'].shape[:2]
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        results['gt_seg_map'] = labels
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def read(self, path: str | Path) -> np.ndarray:
        """Ids of a file, int32; see `read_label_map`. Shape (H, W)."""
        return read_label_map(path)


def keeps_stored_pixels(pipeline: Compose) -> bool:
    """Whether a pipeline loads images without turning them, see `LoadBoundedImage`."""
    return any(getattr(step, 'stored_pixels', False) for step in pipeline.transforms)


def bounded(image: np.ndarray, size: tuple[int, int], max_side: int | None) -> np.ndarray:
    """An image of at most `max_side` pixels, and one row at least after later resizing.

    Args:
        image: As it was decoded, perhaps smaller than its file. Shape (h, w, 3).
        size: Height and width of the file.
        max_side: Bound on the longer side; None for no bound.
    """
    height, width = size
    if max_side is not None and max(image.shape[:2]) > max_side:
        factor = max_side / max(height, width)
        shape = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    return _thickened(image)


def _thickened(image: np.ndarray) -> np.ndarray:
    """The image with its shorter side enlarged if it is almost a line."""
    height, width = image.shape[:2]
    least = -(-max(height, width) // LARGEST_RATIO)
    if min(height, width) >= least:
        return image
    size = (max(width, least), max(height, least))
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)


@TRANSFORMS.register_module()
class SetImageTags(BaseTransform):
    """Sets the ids of an image: those that its data set gives, else those of its whole mask.

    Comes right after the mask is loaded: before cropping, and before `MarkValidPixels`.

    Args:
        background: Whether id 0 is a class, which every image then has.
        ignore_index: Id of pixels that do not count.

    Sets:
        image_tags: Sorted tuple of ids.

    Raises:
        KeyError: If there are neither tags nor a mask.
        ValueError: If `MarkValidPixels` came before, or there is no tag at all.
    """

    def __init__(self, background: bool = True, ignore_index: int = IGNORE_INDEX) -> None:
        self.background = background
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Set the tags of one image."""
        given = results.get('image_tags')
        ids = set(self._ids_of_mask(results) if given is None else given)
        if self.background:
            ids.add(0)
        if not ids:
            raise ValueError(f'{results["img_path"]}: its mask has no category')
        results['image_tags'] = tuple(sorted(ids))
        return results

    def _ids_of_mask(self, results: dict) -> list[int]:
        if 'gt_seg_map' not in results:
            raise KeyError(
                f'{results["img_path"]} has neither tags nor a mask: set tags of its data set, or '
                'load its mask before SetImageTags'
            )
        if 'has_mask' in results:
            raise ValueError('SetImageTags reads whole masks: put it before MarkValidPixels')
        ids = np.unique(results['gt_seg_map']).tolist()
        return [i for i in ids if i != self.ignore_index]


@TRANSFORMS.register_module()
class LoadIndexedLabelMap(LoadLabelMap):
    """Reads a palette or grey PNG as integer ids.

    An image without a mask passes unchanged, for `MarkValidPixels` to fill in.

    Args:
        void: Value in the file of pixels that do not count; None if there is none.
        ignore_index: Id that they get.
        match_image: As `LoadLabelMap`.

    Sets:
        gt_seg_map: int32 ids, shape (h, w). seg_fields: with 'gt_seg_map'.
    """

    def __init__(
        self, void: int | None = 255, ignore_index: int = IGNORE_INDEX, match_image: bool = True
    ) -> None:
        super().__init__(match_image)
        self.void = void
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Load the label map at results['seg_map_path'], if there is one."""
        return super().transform(results) if 'seg_map_path' in results else results

    def read(self, path: str) -> np.ndarray:
        """Ids of a file, int32. Shape (H, W).

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not an 8-bit image of one channel.
        """
        try:
            with Image.open(path) as image:
                if image.mode not in ('P', 'L'):
                    raise ValueError(
                        f'{path}: an image of mode {image.mode}; ids are read from an 8-bit '
                        'palette or grey PNG. An ImageNet-S mask needs LoadLabelMap.'
                    )
                labels = np.asarray(image).astype(np.int32)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{path}: no such mask.') from error
        except (OSError, SyntaxError) as error:
            raise ValueError(f'{path}: not a readable mask ({error}).') from error
        if self.void is not None:
            labels[labels == self.void] = self.ignore_index
        return labels
