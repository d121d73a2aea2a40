"""How many images a recipe works on and how large they are, with or without having them."""

import json
import statistics
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from luss_mm.datasets.image_file import ImageFileError, read_image_size
from luss_mm.datasets.image_walk import walk_images
from luss_mm.recipes.dataset_facts import without_class_labels, without_loading
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError

LOOKED_AT = 16  # images whose size is read
SELECTED = 0.6  # share of the images whose loss counts as small; .45 to .75 in runs here
PHOTOGRAPH = (375, 500)  # height and width of a usual image of ImageNet


class RecipeImages:
    """Numbers and sizes of the images of a recipe; not collective, one rank may look.

    Args:
        recipe: Whose data sets they are.
        images: Number of images of every training folder, none being scored; None looks.

    Attributes:
        size: Height and width as loaded: the median of a few files, or a usual photograph's.
    """

    def __init__(self, recipe: Recipe, images: int | None = None) -> None:
        self._recipe = recipe
        self._images = images
        self._counts: dict[str, int] = {}
        values = recipe.settings.values
        folder = Path(recipe.settings.resolve(values.get('data_root', '')))
        size = PHOTOGRAPH if images else _usual_size(folder / values.get('train_split', ''))
        factor = min(1.0, (values.get('max_side') or max(size)) / max(size))
        self.size = tuple(max(1, round(factor * side)) for side in size)

    def count(self, dataset: Mapping[str, Any], scored: bool = False) -> int:
        """Images that a stage trains on, or is scored on.

        Raises:
            SettingsError: If they cannot be counted.
        """
        share = 1.0
        if (rule := dataset.get('small_loss')) is not None:
            share = rule['value'] if rule.get('rule') == 'quantile' else SELECTED
        if self._images is not None:
            folders = (dataset.get('data_prefix') or {}).get('img_path', 'train')
            number = 1 if isinstance(folders, str) else len(folders)
            return 0 if scored else round(share * self._images * number)
        config = without_class_labels(without_loading(dataset, self._recipe.work_dir))
        key = json.dumps(config, sort_keys=True, default=str)
        if key not in self._counts:
            try:
                with DefaultScope.overwrite_default_scope('mmseg'):
                    self._counts[key] = len(DATASETS.build(config))
            except (KeyError, OSError, TypeError, ValueError) as error:
                raise SettingsError(str(error)) from error
        return round(share * self._counts[key])


def _usual_size(folder: Path) -> tuple[int, int]:
    sizes = []
    for relative in islice(walk_images(folder), LOOKED_AT) if folder.is_dir() else ():
        try:
            sizes.append(read_image_size(folder / relative))
        except (ImageFileError, OSError):
            continue  # the check of all images names it
    return tuple(round(statistics.median(s)) for s in zip(*sizes, strict=True)) or PHOTOGRAPH
