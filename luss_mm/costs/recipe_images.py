"""How many images a recipe works on and how large they are, with or without having them."""

import json
import statistics
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from luss_mm.costs.trial_step import PHOTOGRAPH
from luss_mm.datasets.image_file import ImageFileError, read_image_size
from luss_mm.datasets.image_walk import walk_images
from luss_mm.imagenet_s.lists import NUM_IMAGES
from luss_mm.recipes.dataset_facts import without_class_labels, without_loading
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError

LOOKED_AT = 16  # images whose size is read
SELECTED = 0.6  # share of the images whose loss counts as small; .45 to .75 in runs here


class RecipeImages:
    """Numbers and sizes of the images of a recipe; not collective, one rank may look.

    Args:
        recipe: Whose data sets they are.
        images: Number of images of every training folder, instead of looking; None looks. Where the
            folder of an ImageNet-S recipe is not there, its published numbers are taken.

    Attributes:
        size: Height and width as loaded: the median of a few files, or a usual photograph's.
    """

    def __init__(self, recipe: Recipe, images: int | None = None) -> None:
        self._recipe = recipe
        self._images = images
        self._counts: dict[str, int] = {}
        self._root = Path(recipe.settings.resolve(recipe.settings.values.get('data_root', '')))
        self.size = self._bounded(self._usual_size())

    def count(self, dataset: Mapping[str, Any]) -> int:
        """Images that a stage trains on.

        Raises:
            SettingsError: If they cannot be counted.
        """
        share = 1.0
        if (rule := dataset.get('small_loss')) is not None:
            share = rule['value'] if rule.get('rule') == 'quantile' else SELECTED
        if self._images is not None:
            return round(share * self._images * len(_folders(dataset)))
        return round(share * self._found(dataset))

    def count_validation(self, dataset: Mapping[str, Any]) -> int:
        """Images that a stage is scored on; 0 if only the number of training images is given."""
        if self._images is not None:
            return self._published(dataset) or 0
        return self._found(dataset)

    def _found(self, dataset: Mapping[str, Any]) -> int:
        if not self._root.is_dir() and (number := self._published(dataset)):
            return number
        config = without_class_labels(without_loading(dataset, self._recipe.work_dir))
        key = json.dumps(config, sort_keys=True, default=str)
        if key not in self._counts:
            self._counts[key] = _count(config)
        return self._counts[key]

    def _published(self, dataset: Mapping[str, Any]) -> int | None:
        """Of the splits of ImageNet-S, in a recipe for it."""
        numbers = NUM_IMAGES.get(self._recipe.settings.values.get('num_categories'), {})
        folders = _folders(dataset)
        if not self._is_imagenet_s() or not numbers.keys() >= set(folders):
            return None
        return sum(numbers[folder] for folder in folders)

    def _is_imagenet_s(self) -> bool:
        validation = self._recipe.settings.values.get('validation_dataset')
        return isinstance(validation, Mapping) and validation.get('type') == 'ImageNetSDataset'

    def _usual_size(self) -> tuple[int, int]:
        split = self._recipe.settings.values.get('train_split', '')
        sizes = list(_sizes_below(self._root / split)) if self._images is None else []
        if not sizes:
            return PHOTOGRAPH
        return tuple(round(statistics.median(sides)) for sides in zip(*sizes, strict=True))

    def _bounded(self, size: tuple[int, int]) -> tuple[int, int]:
        bound = self._recipe.settings.values.get('max_side')
        factor = min(1.0, bound / max(size)) if bound else 1.0
        return tuple(max(1, round(factor * side)) for side in size)


def _count(config: dict[str, Any]) -> int:
    try:
        with DefaultScope.overwrite_default_scope('mmseg'):
            return len(DATASETS.build(config))
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise SettingsError(str(error)) from error


def _folders(dataset: Mapping[str, Any]) -> list[str]:
    folders = (dataset.get('data_prefix') or {}).get('img_path', 'train')
    return [folders] if isinstance(folders, str) else list(folders)


def _sizes_below(folder: Path) -> Iterator[tuple[int, int]]:
    if not folder.is_dir():
        return
    for relative in islice(walk_images(folder), LOOKED_AT):
        try:
            yield read_image_size(folder / relative)
        except (ImageFileError, OSError):
            continue  # the check of all images names it
