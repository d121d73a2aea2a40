"""Looking at a prepared split: how many files it has, and whether a sample of them is sound."""

import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from luss_mm.datasets.image_file import read_image_size
from luss_mm.datasets.label_map_file import IGNORE_INDEX, read_label_map
from luss_mm.imagenet_s.lists import IMAGE_SUFFIX

OWN_CATEGORY_SHARE = 0.5  # of the sampled masks; another subset's ids would give about none


@dataclass
class Survey:
    """Files of a split, by their relative paths.

    Attributes:
        count: Number of files that belong there.
        sample: Some of them, drawn without regard to their order.
        unexpected: Files that do not belong there.
    """

    count: int = 0
    sample: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def survey_files(
    directory: Path,
    suffix: str,
    sample_size: int,
    belongs: Callable[[str], bool],
    seed: int = 0,
) -> Survey:
    """Count the files `<folder>/<name><suffix>` below a directory and draw a sample in one pass.

    Args:
        directory: Of the split. Links are followed.
        suffix: Of the files to look at; others are not looked at.
        sample_size: How many to draw at most; all are equally likely.
        belongs: Whether a relative path is one of the split's.
        seed: Of the sample.
    """
    survey, draw = Survey(), random.Random(seed)
    for name in _files(directory, suffix):
        if not belongs(name):
            survey.unexpected.append(name)
            continue
        survey.count += 1
        place = draw.randrange(survey.count)  # reservoir sampling
        if len(survey.sample) < sample_size:
            survey.sample.append(name)
        elif place < sample_size:
            survey.sample[place] = name
    return survey


def check_image(path: Path) -> None:
    """Decode an image to its last row.

    Raises:
        ValueError: If that fails.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # some of ImageNet's EXIF blocks are malformed
            with Image.open(path) as image:
                image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path}: cannot be decoded ({error})') from error


def check_mask(path: Path, image_path: Path, num_categories: int) -> np.ndarray:
    """Ids that occur in a mask, int32, sorted.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If it is no ImageNet-S mask, its size is not its image's or an id is neither
            0..num_categories nor 1000.
    """
    check_image(path)  # reading a label map takes what it can get of a truncated file
    labels = read_label_map(path)
    size = read_image_size(image_path, stored_pixels=True)
    if labels.shape != size:
        raise ValueError(f'{path}: {labels.shape}, its image is {size} (height, width)')
    ids = np.unique(labels)
    wrong = ids[(ids > num_categories) & (ids != IGNORE_INDEX)]
    if wrong.size:
        raise ValueError(f'{path}: id {wrong[0]}; categories end at {num_categories}')
    return ids


def check_masks(
    masks: Path, images: Path, sample: Iterable[str], category_ids: dict[str, int]
) -> list[str]:
    """What is wrong with sampled masks, a line each.

    Args:
        masks: Their folder.
        images: Folder of the split's images.
        sample: Relative paths of masks.
        category_ids: Id of every wnid of the subset.
    """
    problems, checked, with_own_category = [], 0, 0
    for name in sample:
        try:
            ids = check_mask(masks / name, images / image_of_mask(name), len(category_ids))
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        checked += 1
        with_own_category += category_ids[name.partition('/')[0]] in ids
    if with_own_category < OWN_CATEGORY_SHARE * checked:
        problems.append(
            f'{masks}: only {with_own_category} of {checked} sampled masks hold the id of their '
            "own category. They may be another subset's: each subset has its own ids."
        )
    return problems


def image_of_mask(name: str) -> str:
    """Relative path of the image that a mask belongs to."""
    return name.removesuffix('.png') + IMAGE_SUFFIX


def _files(directory: Path, suffix: str) -> Iterator[str]:
    """Relative paths `<folder>/<name>`, sorted within each folder."""
    if not directory.is_dir():
        return
    for folder in sorted(entry.name for entry in os.scandir(directory) if entry.is_dir()):
        for name in sorted(os.listdir(directory / folder)):
            if name.endswith(suffix) and not name.startswith('.'):
                yield f'{folder}/{name}'
