"""Pictures of a report: within the page if they are few, in a folder beside it if they are many."""

import base64
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from luss_mm.visualization.contact_sheets import thumbnail
from luss_mm.work_dir.atomic_files import write_atomically

FOLDER = 'pictures'
GAP = 2  # pixels between tiles
QUALITY = 80
TYPES = {'.webp': 'image/webp', '.jpg': 'image/jpeg', '.png': 'image/png'}


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        path: File in the folder of the report.
        width: In pixels.
        height: In pixels.
        text: What it shows, for people who do not see it.
    """

    path: Path
    width: int
    height: int
    text: str

    def relative_source(self) -> str:
        """Address from the page, whose folder holds the folder of pictures."""
        return f'{FOLDER}/{self.path.name}'

    def data_source(self) -> str:
        """The picture itself as an address."""
        content = base64.b64encode(self.path.read_bytes()).decode('ascii')
        return f'data:{TYPES[self.path.suffix]};base64,{content}'


class PictureFolder:
    """Makes and collects the pictures of a report.

    Args:
        directory: Of the page; pictures go into its folder `pictures`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / FOLDER
        self.directory.mkdir(parents=True)
        self.bytes = 0

    def add_tiles(
        self, name: str, images: Sequence[Path], text: str, columns: int, tile: int
    ) -> Picture:
        """Thumbnails in rows, transparent between and after them.

        Args:
            name: Of the file, without suffix.
            images: At least one.
            text: What the picture shows.
            columns: Thumbnails in a row.
            tile: Side of a thumbnail in pixels.
        """
        rows, step = -(-len(images) // columns), tile + GAP
        sheet = np.zeros((rows * step - GAP, columns * step - GAP, 4), np.uint8)
        for position, path in enumerate(images):
            top, left = (step * index for index in divmod(position, columns))
            square = sheet[top : top + tile, left : left + tile]
            square[..., :3] = thumbnail(path, tile)[..., ::-1]
            square[..., 3] = 255
        path = self.directory / f'{name}.webp'
        encoded, data = cv2.imencode('.webp', sheet, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
        if not encoded:
            raise OSError(f'{path}: OpenCV could not encode a picture of shape {sheet.shape}')
        write_atomically(path, data.data)
        return self._added(path, text, sheet.shape)

    def add_file(self, name: str, source: Path, text: str) -> Picture:
        """A copy of a picture that the run drew.

        Args:
            name: Of the file, without suffix.
            source: The picture, .jpg or .png.
            text: What it shows.

        Raises:
            OSError: If it cannot be decoded.
        """
        image = cv2.imread(str(source))
        if image is None:
            raise OSError(f'{source}: cannot be decoded. Delete it and run the recipe again.')
        path = self.directory / f'{name}{source.suffix}'
        shutil.copyfile(source, path)
        return self._added(path, text, image.shape)

    def _added(self, path: Path, text: str, shape: tuple[int, ...]) -> Picture:
        self.bytes += path.stat().st_size
        return Picture(path, shape[1], shape[0], text)
