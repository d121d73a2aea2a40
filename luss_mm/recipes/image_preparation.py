"""From an image file or array to what a segmentor takes, by the transforms of its config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.registry import DefaultScope
from mmseg.registry import TRANSFORMS

from luss_mm.datasets.transforms import LoadLabelMap, SetImageTags
from luss_mm.recipes.config_file import ConfigError

LABEL_READERS = (LoadLabelMap, LoadAnnotations, SetImageTags)
IMAGE_LOADERS = ('LoadBoundedImage', 'LoadImageFromFile')
PICTURE_SIDE = 1024  # pixels; overlays are for looking


@dataclass
class PreparedImage:
    """One image on its way through inference.

    Attributes:
        index: Its place among the inputs.
        packed: `inputs` and `data_samples`; None if the image is bad.
        picture: RGB, uint8 (h, w, 3), at most `PICTURE_SIDE` long; None if it was not asked for.
        problem: Why the image is bad.
        labels: Predicted ids, uint16 (H, W), set by the inferencer.
    """

    index: int
    packed: dict[str, Any] | None = None
    picture: np.ndarray | None = None
    problem: str | None = None
    labels: np.ndarray | None = None


class ImagePreparation:
    """The test transforms of a config without those that read labels.

    Files are turned by their EXIF orientation, as `cv2.imread` turns arrays.

    Args:
        transforms: Configs; the first one that is left loads the image.

    Raises:
        ConfigError: If it does not.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        kept = image_transforms(transforms)
        if not kept or _plain_name(kept[0]) not in IMAGE_LOADERS:
            raise ConfigError(
                f'the test pipeline must begin with one of {", ".join(IMAGE_LOADERS)}, '
                f'not {kept[0]["type"] if kept else "nothing"}'
            )
        with DefaultScope.overwrite_default_scope('mmseg'):
            self.load, *self.transforms = [TRANSFORMS.build(transform) for transform in kept]
        # People ask about what they see, also of a network that was scored on stored pixels.
        if hasattr(self.load, 'stored_pixels'):
            self.load.stored_pixels = False
        # An array gets the bound that a file of its size gets.
        self.max_side = getattr(self.load, 'max_side', None)

    def __call__(
        self, numbered: tuple[int, str | Path | np.ndarray], with_picture: bool = False
    ) -> PreparedImage:
        """Load and transform one image; what goes wrong with it is noted, not raised.

        Args:
            numbered: Index, and a path or a BGR image, uint8 (H, W, 3), as OpenCV reads it.
            with_picture: Keep the loaded image for an overlay.
        """
        index, image = numbered
        try:
            loaded = self._loaded(image)
            picture = _picture(loaded['img']) if with_picture else None
            for transform in self.transforms:
                loaded = transform(loaded)
        except MemoryError:
            raise
        except Exception as error:  # damaged files make decoders and transforms stumble anywhere
            return PreparedImage(index, problem=_reason(error))
        packed = {key: loaded[key] for key in ('inputs', 'data_samples')}
        return PreparedImage(index, packed, picture)

    def _loaded(self, image: str | Path | np.ndarray) -> dict[str, Any]:
        if not isinstance(image, np.ndarray):
            _check_name(str(image))
            loaded = self.load(dict(img_path=str(image)))
            if loaded is None:
                raise ValueError(f'{image}: cannot be loaded. Delete or replace it.')
            return loaded
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f'an image is BGR uint8 (H, W, 3), got {image.shape} {image.dtype}')
        bounded = _bounded(image, self.max_side)
        return dict(img=bounded, img_shape=bounded.shape[:2], ori_shape=image.shape[:2])


def image_transforms(transforms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Configs of test transforms without those that read labels."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        kinds = [TRANSFORMS.get(transform['type']) for transform in transforms]
    return [
        dict(transform)
        for transform, kind in zip(transforms, kinds, strict=True)
        if not (isinstance(kind, type) and issubclass(kind, LABEL_READERS))
    ]


def _picture(image_bgr: np.ndarray) -> np.ndarray:
    rgb = _bounded(image_bgr.astype(np.uint8, copy=False), PICTURE_SIDE)[..., ::-1]
    return np.ascontiguousarray(rgb)


def _check_name(path: str) -> None:
    """Refuse a name that is no text: OpenCV 5.0 ends the process on it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode('utf-8', 'backslashreplace').decode()
        raise ValueError(f'{shown}: the name is not UTF-8. Rename the file.') from None


def _bounded(image: np.ndarray, max_side: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _plain_name(transform: Mapping[str, Any]) -> str:
    return transform['type'].rpartition('.')[2]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f'{error.filename}: cannot be read ({error.strerror}).'
    text = ' '.join(str(error).split())
    return text or type(error).__name__
