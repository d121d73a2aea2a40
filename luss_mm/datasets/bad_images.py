"""The images that a run leaves out, and what stands in for those that are found only later."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from luss_mm.datasets.image_entries import ImageEntries
from luss_mm.datasets.image_file import ImageFileError
from luss_mm.work_dir.run_folder import FOUND_LATER


class BadImages:
    """Bad images of a data set.

    An image that decodes to nothing although its header and its end are in order is replaced by the
    next image of the data set. All data sets of the same images do so, hence features, label maps
    and training agree: the image's place is taken by its neighbour everywhere.

    Args:
        path: JSON list of dicts with `image` and `problem`, which `check_images` has written. What
            is found later is appended to `found_later.txt` beside it.

    Raises:
        FileNotFoundError: If there is no such list.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'{path}: no such list of bad images. Run the recipe.')
        self._stand_ins: dict[int, int] = {}

    def leave_out(self, entries: Sequence[dict]) -> Sequence[dict]:
        """Entries of a data set without those whose `img_path` is listed; lists stay lists.

        Raises:
            ValueError: If none is left.
        """
        bad = {image['image'] for image in json.loads(self.path.read_text())}
        if isinstance(entries, ImageEntries):
            left = entries.without(bad)
        else:
            left = [entry for entry in entries if entry['img_path'] not in bad]
        if len(entries) and not len(left):
            raise ValueError(f'none of {len(entries)} images can be used, see {self.path}')
        return left

    def stand_in(self, index: int) -> int:
        """Index of the image that is used in the place of an image, mostly its own."""
        return self._stand_ins.get(index, index)

    def replace(self, index: int, num_images: int, error: ImageFileError) -> None:
        """Let the next image stand in from now on, and write down why."""
        stand_in = (self.stand_in(index) + 1) % num_images
        self._stand_ins[index] = stand_in
        with open(self.path.with_name(FOUND_LATER), 'a', encoding='utf-8') as file:
            file.write(f'{error}\n')
        print_log(
            f'{error} Image {stand_in} stands in for image {index}.', 'current', logging.WARNING
        )


def read_found_later(directory: str | Path) -> list[str]:
    """What loading has found to be bad after the check, a line each, without repetition.

    Args:
        directory: Of the list of bad images.
    """
    path = Path(directory, FOUND_LATER)
    return sorted(set(path.read_text(encoding='utf-8').splitlines())) if path.is_file() else []
