"""Bad images: found before anything trains, then left out or refused."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from luss_mm.datasets import LUSSDataset, SeededDataset
from luss_mm.datasets.image_file import UNREAD_FOLDER
from luss_mm.datasets.image_walk import CLASSES, category_names
from luss_mm.datasets.seeded_dataset import read_found_later
from luss_mm.pipeline.check_images import CheckedDataset, check_images
from luss_mm.recipes.config_check import typed_blocks
from luss_mm.recipes.data_check import is_yet_to_come
from luss_mm.recipes.dataset_facts import (
    build_label_loader,
    dataset_parts,
    find_label_loader,
    without_index,
    without_loading,
)
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from luss_mm.work_dir.run_folder import (
    BAD_IMAGES,
    BAD_MASKS,
    ODD_MASKS,
    TRAINING_CHECK,
    VALIDATION_CHECK,
    read_bad_files,
)


def check_images_of(recipe: Recipe, names: Sequence[str]) -> Path:
    """Look at all images and given masks of some stages; collective.

    Args:
        recipe: Passed `check_data`.
        names: Stages with a training, whose images are there.

    Returns:
        The list of training images that cannot be used.

    Raises:
        SettingsError: On all ranks, at a bad training image unless the recipe skips those, at a bad
            validation image, without which the scores would be others, and at a bad mask.
    """
    training = _check(recipe, names, 'train_dataloader', TRAINING_CHECK)
    validation = _check(recipe, names, 'val_dataloader', VALIDATION_CHECK)
    if recipe.on_bad_image == 'error':
        _refuse(training / BAD_IMAGES, "Delete it or set on_bad_image='skip'")
    _refuse(validation / BAD_IMAGES, 'Replace it: scores without it could not be compared')
    for directory in (training, validation):
        _refuse(directory / BAD_MASKS, 'Correct or replace it')
    return training / BAD_IMAGES


def bad_image_lines(work_dir: Path) -> list[str]:
    """What a run has left out, for its closing lines; none if it left out nothing."""
    directory = work_dir / TRAINING_CHECK
    if not directory.is_dir():
        return []
    listed, later = read_bad_files(directory, BAD_IMAGES), len(read_found_later(directory))
    if not listed and not later:
        return []
    folders = sum(bad['problem'] == UNREAD_FOLDER for bad in listed)
    in_folders = f', {folders} of them a folder with all that lies in it' if folders else ''
    found_later = f', {later} found only when they were loaded' if later else ''
    return [f'bad images: {len(listed)}{in_folders}{found_later}, see {directory}']


def _check(recipe: Recipe, names: Sequence[str], loader: str, output: str) -> Path:
    datasets, inputs = {}, {}
    for name, part in _distinct_images(recipe, names, loader).items():
        images, reader = part.images, part.reader
        with DefaultScope.overwrite_default_scope('mmseg'):
            dataset = DATASETS.build(images)
        if not isinstance(dataset, SeededDataset):  # others come with transforms of their own
            continue
        _refuse_other_number(dataset, part.num_ids, scored=loader == 'val_dataloader')
        _warn_of_other_number(dataset, part.num_clusters)
        inputs[name] = dict(images=without_index(images), reader=reader)
        if reader is None or next(dataset.label_paths(), None) is None:
            datasets[name] = CheckedDataset(dataset)
            continue
        folder_ids = _folder_ids(dataset)
        datasets[name] = CheckedDataset(
            dataset, build_label_loader([reader]), part.num_ids, folder_ids, part.stored_pixels
        )
        inputs[name] |= dict(
            num_ids=part.num_ids, folders=list(folder_ids), stored_pixels=part.stored_pixels
        )
    directory = check_images(recipe.work_dir / output, datasets, inputs)
    _warn_of_foreign_ids(directory, datasets.values())
    return directory


def _refuse_other_number(dataset: SeededDataset, num_ids: int | None, scored: bool) -> None:
    """Refuse image tags that the network cannot learn, or names that the metric cannot count."""
    if (
        scored
        and isinstance(dataset, LUSSDataset)
        and len(dataset.metainfo.get('classes') or ()) == 1
    ):
        raise SettingsError(
            f'{dataset.image_folders[0]}: no image lies in the folder of a category, so nothing '
            'could be scored. Put images and masks into a folder for each category, list the '
            f'categories in {CLASSES}, or set evaluate=False.'
        )
    if num_ids is None:
        return
    if scored:
        found = len(dataset.metainfo.get('classes') or range(num_ids)) - 1
        is_wrong = found != num_ids - 1
    else:
        found = len(_folder_ids(dataset)) if getattr(dataset, 'tags', None) == 'folders' else 0
        is_wrong = found >= num_ids
    if is_wrong:
        raise SettingsError(
            f'{dataset.image_folders[0]}: {found} categories (folders of all splits, or lines of '
            f'{CLASSES}) for num_categories={num_ids - 1}. Set num_categories={found}, or correct '
            'the folders.'
        )


def _folder_ids(dataset: SeededDataset) -> dict[str, int]:
    """Ids of the category folders of images; none where lists name the images."""
    if not isinstance(dataset, LUSSDataset):
        return {}
    known = dataset.metainfo
    names = known.get('wnids') or (known.get('classes') or ())[1:]
    try:
        names = names or category_names(dataset.image_folders, dataset.root)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return {name: i for i, name in enumerate(names, start=1)}


def _warn_of_foreign_ids(directory: Path, datasets: Iterable[CheckedDataset]) -> None:
    """Tell if most masks lack the id of their own folder, as where ids are shifted."""
    odd = read_bad_files(directory, ODD_MASKS)
    masks = sum(len(c.dataset) for c in datasets if c.label_loader and c.folder_ids)
    if 2 * len(odd) > masks:
        print_log(
            f'{len(odd)} of {masks} masks lack the id of their category folder, as '
            f'{odd[0]["image"]}: {odd[0]["problem"]}. Ids follow the sorted category folders of '
            f'all splits; if the masks count otherwise, list the folders in {CLASSES} in data_root '
            f'in the order of the ids (listed in {directory / ODD_MASKS}).',
            'current',
            logging.WARNING,
        )


@dataclass(frozen=True)
class _Part:
    """Config of images and of the reader of their given masks, and what masks are to be like."""

    images: dict[str, Any]
    reader: Mapping[str, Any] | None
    num_ids: int | None
    stored_pixels: bool
    num_clusters: int | None


def _distinct_images(recipe: Recipe, names: Sequence[str], loader: str) -> dict[str, _Part]:
    """By fingerprint. Of data sets with the same images one counts whose masks are read."""
    found = {}
    for name in names:
        config = recipe.stage(name, '<stage_dir>')
        if not config.get(loader) or is_yet_to_come(recipe, names, config[loader]['dataset']):
            continue
        for part in dataset_parts(config[loader]['dataset']):
            images = without_loading(part, recipe.work_dir)
            images.pop('bad_images', None)
            with DefaultScope.overwrite_default_scope('mmseg'):
                fingerprint = recipe.dataset_facts(images)['fingerprint']
            reader = find_label_loader(part.get('pipeline', ()))
            if fingerprint not in found or found[fingerprint].reader is None:
                stored = any(step.get('stored_pixels') for step in part.get('pipeline', ()))
                found[fingerprint] = _Part(
                    images, reader, _num_ids(config, loader), stored, _num_clusters(config, loader)
                )
    return found


def _num_ids(config: Mapping[str, Any], loader: str) -> int | None:
    """How many ids the network of a stage can learn, or its metric can count, where it is told."""
    if loader == 'train_dataloader':
        found = [block.get('num_classes') for _, block in typed_blocks(config['model'])]
    else:
        found = [
            block.get('num_categories') for _, block in typed_blocks(config.get('val_evaluator'))
        ]
        found = [None if categories is None else categories + 1 for categories in found]
    return max(filter(None, found), default=None)


def _num_clusters(config: Mapping[str, Any], loader: str) -> int | None:
    """How many clusters the metric of a stage matches to categories; None where it does not."""
    evaluator = config.get('val_evaluator') if loader == 'val_dataloader' else None
    blocks = [block for _, block in typed_blocks(evaluator) if block.get('background', 0) == 0]
    return next((block['num_clusters'] for block in blocks if 'num_clusters' in block), None)


def _warn_of_other_number(dataset: SeededDataset, num_clusters: int | None) -> None:
    """Tell if matching one to one must leave clusters or categories without a partner."""
    categories = len(dataset.metainfo.get('classes') or ()) - 1
    if num_clusters is None or categories < 1 or num_clusters == categories:
        return
    print_log(
        f'{dataset.image_folders[0]}: {categories} categories (folders of all splits, or lines of '
        f'{CLASSES}), but num_categories={num_clusters}: the scores count '
        f'{abs(num_clusters - categories)} '
        f'{"clusters" if num_clusters > categories else "categories"} as wrong, which nothing is '
        f'left to be matched to. Set num_categories={categories} if that is not meant.',
        'current',
        logging.WARNING,
    )


def _refuse(path: Path, fix: str) -> None:
    """Stop at the first file of a list."""
    bad = json.loads(path.read_text())
    if bad:
        shown = f'1 of {len(bad)}, listed in {path}' if len(bad) > 1 else f'listed in {path}'
        raise SettingsError(f'{bad[0]["image"]}: {bad[0]["problem"]}. {fix} ({shown}).')
