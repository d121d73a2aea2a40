"""Images, masks and hooks that would fail only in a later stage, found before anything trains."""

import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, HOOKS

from luss_mm.datasets import LUSSDataset, SeededDataset, SemiSampler
from luss_mm.datasets.image_file import UNREAD_FOLDER
from luss_mm.datasets.image_walk import CLASSES, category_names
from luss_mm.pipeline.check_images import CheckedDataset, check_images
from luss_mm.pipeline.step import check_order, steps_of_hook
from luss_mm.recipes.config_check import typed_blocks
from luss_mm.recipes.dataset_facts import (
    build_label_loader,
    dataset_parts,
    find_label_loader,
    without_index,
    without_loading,
)
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import REFERENCE, SettingsError, did_you_mean_path
from luss_mm.work_dir.artifact import decide_on_main
from luss_mm.work_dir.run_folder import (
    BAD_IMAGES,
    BAD_MASKS,
    ODD_MASKS,
    TRAINING_CHECK,
    VALIDATION_CHECK,
    read_bad_files,
    read_found_later,
)

NO_FOLDER = ': no such folder'  # of our data sets, behind the path
LOADERS = ('train_dataloader', 'val_dataloader')
SEMI_ARGUMENTS = ('labelled', 'unlabelled', 'partners')  # of the sampler, they give its batch


def check_data(recipe: Recipe, names: Sequence[str]) -> None:
    """Refuse stages that cannot work with the images and masks that are there.

    Folders exist, training images fill a batch, masks are complete, transforms and hooks accept
    their arguments, and no hook with a method `check` objects. What one of the stages has yet to
    write is not looked at. Collective.

    Args:
        recipe: Already checked by itself.
        names: Stages with a training, whose images are there.

    Raises:
        SettingsError: On all ranks, naming the stage and the fix.
    """
    small: dict[str, str] = {}  # what is wrong with a batch to the first place of it
    for name in names:
        config = recipe.stage(name, '<stage_dir>')
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmseg')):
            for key in LOADERS:
                if config.get(key) and not is_yet_to_come(recipe, names, config[key]['dataset']):
                    if mistake := _check_loader(recipe, name, key, config[key]):
                        small.setdefault(mistake, f'stages.{name}.{key}')
            mistake = decide_on_main(partial(_find_mistake_of_hooks, config))
        if mistake:
            raise SettingsError(f'stages.{name}.custom_hooks: {mistake}')
    if small:
        raise SettingsError(' '.join(f'{where}: {mistake}' for mistake, where in small.items()))


def _check_loader(recipe: Recipe, name: str, key: str, loader: Mapping[str, Any]) -> str | None:
    """Refuse what cannot be loaded.

    Returns:
        What is wrong with the size of its batches, so that all stages are told of at once, or None.
    """
    where = f'stages.{name}.{key}'
    try:
        for part in dataset_parts(loader['dataset']):
            Compose(part.get('pipeline', []))
        facts = recipe.dataset_facts(loader['dataset'])
        for part in dataset_parts(loader['dataset']):
            _refuse_shared_label_maps(recipe, part)
    except (KeyError, TypeError, ValueError) as error:
        if (hint := _missing_root(recipe)) and str(error).startswith(hint[0]):
            raise SettingsError(f'{where}: {hint[1]}') from error
        path, missing, _ = str(error).partition(NO_FOLDER)
        near = did_you_mean_path(path) if missing else ''
        fix = ' Without a labelled split, set evaluate=False.' if key.startswith('val') else ''
        raise SettingsError(f'{where}: {_reason(error)}{near}{fix}') from error
    if missing := facts['missing_masks']:
        raise SettingsError(
            f'{where}: {len(missing)} of {facts["images"]} images have no mask, {missing[0]} for '
            'one. Add them, or set evaluate=False if they are for scoring only.'
        )
    name_of = partial(name_setting, recipe, name, key)
    return _find_mistake_of_batches(loader, facts, name_of)


def _missing_root(recipe: Recipe) -> tuple[str, str] | None:
    """The folder `data_root` and a message that names it, if there is no such folder."""
    values = recipe.settings.values
    root = str(recipe.settings.resolve(values.get('data_root') or '', 'data_root'))
    if not root or Path(root).is_dir():
        return None
    return root, f'data_root={root}: no such folder.{did_you_mean_path(root)}'


def _refuse_shared_label_maps(recipe: Recipe, dataset: Mapping[str, Any]) -> None:
    """Refuse two images that the label maps, which the run has yet to make, could not tell apart.

    Raises:
        ValueError: Naming them.
    """
    folder = (dataset.get('data_prefix') or {}).get('seg_map_path') or '/'
    if Path(folder).is_relative_to(recipe.work_dir) and dataset['type'] == 'LUSSDataset':
        DATASETS.build(dict(dataset, pipeline=[]))


def _find_mistake_of_batches(
    loader: Mapping[str, Any], facts: Mapping[str, Any], name_of: Callable[..., str]
) -> str | None:
    draws_both = (loader.get('sampler') or {}).get('type') == 'SemiSampler'
    if draws_both != ('unlabelled' in facts):
        return 'SemiSampler and SemiDataset go together, this has only one of them'
    if draws_both:
        return _find_mistake_of_semi_batches(loader, facts['unlabelled'], name_of)
    if loader.get('batch_size', 1) < 1:
        return f'a batch has no image. Set a larger {name_of("batch_size")}.'
    return None


def fitting_batch(recipe: Recipe, loader: Mapping[str, Any]) -> int:
    """Images of a rank's batch: as configured, or as many as there are if they do not fill it.

    Args:
        recipe: Recipe of the loader. Collective.
        loader: Resolved config. Batches of labelled and unlabelled images stay as they are.
    """
    batch = loader.get('batch_size', 1)
    if not loader.get('drop_last') or 'SemiSampler' in str(loader.get('sampler')):
        return batch
    images = recipe.dataset_facts(loader['dataset'])['images']
    return min(batch, math.ceil(images / get_world_size()) or batch)


def _find_mistake_of_semi_batches(
    loader: Mapping[str, Any], num_unlabelled: int, name_of: Callable[..., str]
) -> str | None:
    arguments = {k: v for k, v in loader['sampler'].items() if k in SEMI_ARGUMENTS}
    if not {'labelled', 'unlabelled'} <= arguments.keys():
        return 'sampler needs the numbers labelled and unlabelled'
    needed, found = SemiSampler.count_samples(**arguments), loader.get('batch_size', 1)
    if needed != found:
        return (
            f'{name_of("batch_size")} is {found}, but the sampler draws {needed} samples for '
            f'{", ".join(f"{k}={v}" for k, v in arguments.items())}. Set it to {needed}.'
        )
    if (loader.get('collate_fn') or {}).get('type') != 'collate_views':
        return "its samples have different views: set collate_fn=dict(type='collate_views')"
    ranks, drawn = get_world_size(), arguments['unlabelled']
    if num_unlabelled < drawn * ranks:
        return (
            f'{num_unlabelled} unlabelled images do not fill one batch of {drawn} on {ranks} '
            f'rank(s). Set a smaller {name_of("sampler", "unlabelled")}.'
        )
    if arguments.get('partners') and num_unlabelled < 2:
        return 'sampler.partners needs at least 2 unlabelled images, and there is one'
    return None


def name_setting(recipe: Recipe, *place: str) -> str:
    """Name of the setting that something in a stage's config refers to, else its own name."""
    value: Any = recipe.templates
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    reference = REFERENCE.fullmatch(str(value))
    return reference[1] if reference else place[-1]


def _find_mistake_of_hooks(config: Mapping[str, Any]) -> str | None:
    steps = []
    for hook in config.get('custom_hooks') or ():
        try:
            built = HOOKS.build(hook)
            if hasattr(built, 'check'):
                built.check()
            steps += steps_of_hook(built)
            check_order(steps)
        except (KeyError, OSError, TypeError, ValueError) as error:
            return f'{hook.get("type")}: {_reason(error)}'
    return None


def is_yet_to_come(recipe: Recipe, names: Sequence[str], dataset: Mapping[str, Any]) -> bool:
    """Whether a data set's config names the folder of one of these stages, which has yet to run."""
    text = json.dumps(dataset, default=str)
    folders = (json.dumps(str(recipe.work_dir / name))[1:-1] for name in names)
    return any(re.search(re.escape(folder) + r'(?![\w-])', text) for folder in folders)


def _reason(error: Exception) -> str:
    """Our own messages speak for themselves, those of Python do not."""
    return f'{error}' if isinstance(error, (OSError, ValueError)) else repr(error)


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
