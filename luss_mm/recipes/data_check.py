"""Finding what would fail only in a later stage, hours from now, before anything trains."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, HOOKS

from luss_mm.datasets import SemiSampler
from luss_mm.pipeline.step import check_order, steps_of_hook
from luss_mm.recipes.dataset_facts import dataset_parts
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import REFERENCE, SettingsError, did_you_mean_path

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
            found = [_find_mistake_of_hooks(config) if is_main_process() else None]
            broadcast_object_list(found)
        if found[0]:
            raise SettingsError(f'stages.{name}.custom_hooks: {found[0]}')
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
        recipe: Of the loader. Collective.
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
