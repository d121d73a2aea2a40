"""Finding what would fail only in a later stage, hours from now, before anything trains."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.registry import DefaultScope
from mmseg.registry import HOOKS

from luss_mm.engine.recipe import Recipe
from luss_mm.engine.settings import REFERENCE, SettingsError

LOADERS = ('train_dataloader', 'val_dataloader')


def check_data(recipe: Recipe, names: Sequence[str]) -> None:
    """Refuse stages that cannot work with the images and masks that are there.

    Folders exist, training images fill a batch, masks are complete, transforms and hooks accept
    their arguments, and no hook with a method `check` objects. What one of the stages has yet to
    write is not looked at. Collective.

    Args:
        recipe: Already checked by itself.
        names: Stages with a training, whose images are there.

    Raises:
        SettingsError: On all ranks, naming the stage and the mend.
    """
    for name in names:
        config = recipe.stage(name, '<stage_dir>')
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmseg')):
            for key in LOADERS:
                if config.get(key) and not _is_yet_to_come(recipe, names, config[key]['dataset']):
                    _check_loader(recipe, name, key, config[key])
            mistake = [_find_mistake_of_hooks(config) if is_main_process() else None]
            broadcast_object_list(mistake)
        if mistake[0]:
            raise SettingsError(f'stages.{name}.custom_hooks: {mistake[0]}')


def _check_loader(recipe: Recipe, name: str, key: str, loader: Mapping[str, Any]) -> None:
    where = f'stages.{name}.{key}'
    try:
        Compose(loader['dataset'].get('pipeline', []))
        facts = recipe.dataset_facts(loader['dataset'])
    except (KeyError, TypeError, ValueError) as error:
        mend = ' Without a labelled split, set evaluate=False.' if key.startswith('val') else ''
        raise SettingsError(f'{where}: {_reason(error)}{mend}') from error
    if missing := facts['missing_masks']:
        raise SettingsError(
            f'{where}: {len(missing)} of {facts["images"]} images have no mask, {missing[0]} for '
            'one. Add them, or set evaluate=False if they are for scoring only.'
        )
    ranks, needed = get_world_size(), loader.get('batch_size', 1) if loader.get('drop_last') else 1
    if math.ceil(facts['images'] / ranks) < needed:
        raise SettingsError(
            f'{where}: {facts["images"]} images do not fill one batch of {needed} on {ranks} '
            f'rank(s). Set a smaller {_batch_setting(recipe, name, key)}.'
        )


def _batch_setting(recipe: Recipe, name: str, key: str) -> str:
    """Name of the setting that a loader takes its batch size from."""
    template = recipe.templates[name].get(key, {}).get('batch_size')
    reference = REFERENCE.fullmatch(str(template))
    return reference[1] if reference else 'batch_size'


def _find_mistake_of_hooks(config: Mapping[str, Any]) -> str | None:
    for hook in config.get('custom_hooks') or ():
        try:
            built = HOOKS.build(hook)
            if hasattr(built, 'check'):
                built.check()
        except (KeyError, OSError, TypeError, ValueError) as error:
            return f'{hook.get("type")}: {_reason(error)}'
    return None


def _is_yet_to_come(recipe: Recipe, names: Sequence[str], dataset: Mapping[str, Any]) -> bool:
    text = json.dumps(dataset, default=str)
    folders = (json.dumps(str(recipe.work_dir / name))[1:-1] for name in names)
    return any(re.search(re.escape(folder) + r'(?![\w-])', text) for folder in folders)


def _reason(error: Exception) -> str:
    """Our own messages speak for themselves, those of Python do not."""
    return f'{error}' if isinstance(error, (OSError, ValueError)) else repr(error)
