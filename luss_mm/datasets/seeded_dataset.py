"""What our data sets share: seeded samples, bad images, category names, a fingerprint."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from torch import Tensor

from luss_mm.datasets.image_file import ImageFileError
from luss_mm.datasets.image_index import ImageEntries
from luss_mm.datasets.image_walk import find_sharing, label_map_name, size_of
from luss_mm.datasets.mask_files import IGNORE_INDEX
from luss_mm.datasets.samplers import EpochIndex, fresh_key, sample_randomness
from luss_mm.functional.label_codec import category_palette
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


LINES = 4096  # that are hashed at once
READ_AS_COLOURS = (
    'was read as colours, but holds id = R + 256 * G: put LoadLabelMap in the place of '
    'LoadAnnotations'
)


class SeededDataset(BaseSegDataset):
    """Images whose samples are a function of (seed, epoch, index) where a sampler tells the epoch.

    Samplers of ours do (`EpochSampler`, `IterationSampler`, `SemiSampler`), also through mmengine's
    RepeatDataset and ConcatDataset. Under any other sampler samples are drawn afresh, as with the
    data sets of mmseg; in test mode it is always that of epoch 0.

    Subclasses set `image_folders` and `given_folders` before they call this constructor.

    Args:
        names: Names of the ids 1..K; None leaves the ids nameless or takes the class's METAINFO.
        seed: Seed of the run; sample i of epoch e draws from (seed, e, i).
        bad_images: JSON file, see `BadImages`: its images are left out, and one that turns out to
            be bad later is replaced by the next image, in every epoch and in every data set of
            these images. None stops at a bad image.
        ignore_index: Id of pixels that do not count.
        metainfo: Added to the names and their palette.
        **kwargs: As mmseg's BaseSegDataset: pipeline, indices, test_mode ...

    Raises:
        ValueError: At an argument of BaseSegDataset that would have no effect.

    Attributes:
        image_folders: Folders that images are named relative to.
        given_folders: Masks below these belong to the data; others the run itself makes.
    """

    image_folders: list[Path]
    given_folders: list[Path]

    def __init__(
        self,
        names: Sequence[str] | None,
        seed: int = 0,
        ignore_index: int = IGNORE_INDEX,
        metainfo: dict | None = None,
        bad_images: str | None = None,
        **kwargs: object,
    ) -> None:
        for name, value, instead in (
            ('ann_file', kwargs.get('ann_file'), 'folders or an image_list name the images'),
            ('filter_cfg', kwargs.get('filter_cfg'), 'choose images by indices or an image_list'),
            ('img_suffix', kwargs.get('img_suffix'), 'files of all image formats are read'),
            (
                'reduce_zero_label',
                kwargs.get('reduce_zero_label'),
                'id 0 is a category, renumber the masks',
            ),
        ):
            if value:
                raise ValueError(
                    f'{name}={value!r} has no effect on a {type(self).__name__}: {instead}. '
                    'Remove it.'
                )
        self.seed = seed
        self.bad_images = None if bad_images is None else BadImages(bad_images)
        metainfo = dict(ignore_index=ignore_index) | dict(metainfo or {})
        if names is not None:
            metainfo.setdefault('classes', ('others', *names))
            metainfo.setdefault('palette', category_palette(len(names) + 1).tolist())
        super().__init__(
            data_root='',
            data_prefix=dict(img_path='', seg_map_path=''),
            metainfo=metainfo,
            ignore_index=ignore_index,
            **kwargs,
        )

    def __getitem__(self, index: int) -> dict:
        """Sample as drawn in the epoch of an `EpochIndex`, else drawn afresh.

        Raises:
            IndexError: If there is no such sample.
        """
        key = self._key_of(index)
        index = range(len(self))[index]
        for _ in range(len(self)):
            try:
                with sample_randomness(self.seed, *key):
                    return _not_of_colours(super().__getitem__(index))
            except ImageFileError as error:
                if self.bad_images is None:
                    raise
                self.bad_images.replace(index, len(self), error)
        raise ValueError('none of the images can be used')

    def _key_of(self, index: int) -> tuple[int, int]:
        """What a sample draws from beside the seed."""
        if isinstance(index, EpochIndex):
            return index.epoch, index.drawn
        return (0, int(index) % len(self)) if self.test_mode else fresh_key()

    def get_data_info(self, idx: int) -> dict:
        """Entry of an image, or of the one that stands in for it, under the index asked for."""
        idx = range(len(self))[idx]
        stand_in = idx if self.bad_images is None else self.bad_images.stand_in(idx)
        return super().get_data_info(stand_in) | dict(sample_idx=idx)

    def without_bad(self, entries: Sequence[dict]) -> Sequence[dict]:
        """Entries whose images are not known to be bad; subclasses pass theirs through it."""
        return entries if self.bad_images is None else self.bad_images.leave_out(entries)

    def relative_path(self, index: int) -> str:
        """Path of an image relative to its image folder, with '/' between the parts."""
        path = Path(self.get_data_info(index)['img_path'])
        folder = next(folder for folder in self.image_folders if path.is_relative_to(folder))
        return path.relative_to(folder).as_posix()

    def all_paths(self) -> Iterable[str]:
        """Relative paths of all images, whichever are chosen; subclasses know them."""
        raise NotImplementedError

    def label_map_name(self, index: int) -> str:
        """Relative path of the label map that is made of an image, see `image_walk`."""
        return label_map_name(self.relative_path(index), self._sharing)

    def fingerprint(self) -> str:
        """SHA-256 of the relative paths, sizes and tags of all images and the sizes of given masks.

        Contents are not read: an image replaced by one of the same size goes unnoticed. Label maps
        elsewhere are not counted, since the run itself makes them.
        """
        self.full_init()
        digest, lines = hashlib.sha256(), self._fingerprint_lines()
        while some := list(islice(lines, LINES)):
            digest.update(os.fsencode(''.join(some)))
        return digest.hexdigest()

    def _fingerprint_lines(self) -> Iterator[str]:
        for index in range(len(self)):
            entry = self.get_data_info(index)
            yield f'{self.relative_path(index)}\0{size_of(entry["img_path"])}\n'
            if 'image_tags' in entry:
                yield f'{entry["image_tags"]}\n'
            label_path = entry.get('seg_map_path')
            if label_path and self._is_given(label_path) and (size := size_of(label_path)) >= 0:
                yield f'{size}\n'

    def label_paths(self) -> Iterator[str]:
        """Where the label maps of the images lie, of those that have one."""
        paths = (self.get_data_info(index).get('seg_map_path') for index in range(len(self)))
        return (path for path in paths if path)

    @cached_property
    def _sharing(self) -> frozenset[str]:
        return find_sharing(self.all_paths)

    def _is_given(self, label_path: str) -> bool:
        return any(Path(label_path).is_relative_to(folder) for folder in self.given_folders)


def _not_of_colours(sample: dict) -> dict:
    """Refuse what mmseg's LoadAnnotations makes of a label map in the ImageNet-S coding."""
    mask = getattr(sample.get('data_samples'), 'gt_sem_seg', None)
    if mask is not None and is_of_colours(mask.data):
        path = sample['data_samples'].get('seg_map_path', 'a label map')
        raise ValueError(f'{path}: {READ_AS_COLOURS}.')
    return sample


def is_of_colours(labels: Tensor) -> bool:
    """Whether a packed label map, (1, H, W) or (H, W) by rights, is (H, W, 3)."""
    return labels.ndim == 3 and labels.shape[0] != 1 and labels.shape[2] == 3
