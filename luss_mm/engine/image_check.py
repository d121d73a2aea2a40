"""Bad images: found before anything trains, then left out or refused."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, TRANSFORMS

from luss_mm.datasets import SeededDataset
from luss_mm.datasets.bad_images import read_found_later
from luss_mm.datasets.image_file import UNREAD_FOLDER
from luss_mm.datasets.transforms import LoadLabelMap
from luss_mm.engine.data_check import is_yet_to_come
from luss_mm.engine.dataset_facts import dataset_parts, without_index, without_loading
from luss_mm.engine.recipe import Recipe
from luss_mm.engine.settings import SettingsError
from luss_mm.pipeline.check_images import (
    BAD_IMAGES,
    BAD_MASKS,
    CheckedDataset,
    check_images,
    read_bad,
)

TRAINING, VALIDATION = 'image_check', 'validation_image_check'


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
    training = _check(recipe, names, 'train_dataloader', TRAINING)
    validation = _check(recipe, names, 'val_dataloader', VALIDATION)
    if recipe.on_bad_image == 'error':
        _refuse(training / BAD_IMAGES, "Delete it or set on_bad_image='skip'")
    _refuse(validation / BAD_IMAGES, 'Replace it: scores without it could not be compared')
    for directory in (training, validation):
        _refuse(directory / BAD_MASKS, 'Replace it')
    return training / BAD_IMAGES


def bad_image_lines(work_dir: Path) -> list[str]:
    """What a run has left out, for its closing lines; none if it left out nothing."""
    directory = work_dir / TRAINING
    if not directory.is_dir():
        return []
    listed, later = read_bad(directory, BAD_IMAGES), len(read_found_later(directory))
    if not listed and not later:
        return []
    folders = sum(bad['problem'] == UNREAD_FOLDER for bad in listed)
    in_folders = f', {folders} of them a folder with all that lies in it' if folders else ''
    found_later = f', {later} found only when they were loaded' if later else ''
    return [f'bad images: {len(listed)}{in_folders}{found_later}, see {directory}']


def _check(recipe: Recipe, names: Sequence[str], loader: str, output: str) -> Path:
    datasets, inputs = {}, {}
    for name, (images, reader) in _distinct_images(recipe, names, loader).items():
        with DefaultScope.overwrite_default_scope('mmseg'):
            dataset = DATASETS.build(images)
            labels = None if reader is None else TRANSFORMS.build(reader)
        if isinstance(dataset, SeededDataset):  # others come with transforms of their own
            datasets[name] = CheckedDataset(dataset, labels)
            inputs[name] = dict(images=without_index(images), reader=reader)
    return check_images(recipe.work_dir / output, datasets, inputs)


def _distinct_images(
    recipe: Recipe, names: Sequence[str], loader: str
) -> dict[str, tuple[dict[str, Any], dict[str, Any] | None]]:
    """Fingerprint to config of the images and of the reader of their given masks."""
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
            readers = filter(_reads_labels, part.get('pipeline', ()))
            found.setdefault(fingerprint, (images, next(readers, None)))
    return found


def _reads_labels(transform: Mapping[str, Any]) -> bool:
    kind = TRANSFORMS.get(transform['type'])
    return isinstance(kind, type) and issubclass(kind, LoadLabelMap)


def _refuse(path: Path, mend: str) -> None:
    """Stop at the first file of a list."""
    bad = json.loads(path.read_text())
    if bad:
        shown = f'1 of {len(bad)}, listed in {path}' if len(bad) > 1 else f'listed in {path}'
        raise SettingsError(f'{bad[0]["image"]}: {bad[0]["problem"]}. {mend} ({shown}).')
