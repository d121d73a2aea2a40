"""Copies of nested settings: merged, or with some of them left out."""

import copy
from collections.abc import Mapping
from typing import Any

# Lists whose entries may be left out by a choice: "${hook if use_it else None}".
OPTIONAL_ENTRIES = {'custom_hooks', 'pipeline'}
# How fast or how loud, not what: these may change between runs of one stage.
WITHOUT_EFFECT = {
    'bad_images',  # they are missing in the fingerprint
    'compile',
    'custom_imports',
    'env_cfg',
    'experiment_name',
    'image_index',
    'launcher',
    'log_level',
    'log_processor',
    'num_workers',
    'persistent_workers',
    'pin_memory',
    'prefetch_factor',
    'visualizer',
    'work_dir',
}


def plain(value: Any) -> Any:
    """Deep copy with ordinary dicts and lists, so that no lazy or attribute dict is left."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(inner) for inner in value)
    return copy.deepcopy(value)


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict:
    """Both, with the second one's values where they differ, dicts within them as well."""
    result = dict(base)
    for key, value in own.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def without_absent(value: Any) -> Any:
    """Without the hooks and transforms that a choice resolved to None."""
    if isinstance(value, Mapping):
        found = {key: without_absent(inner) for key, inner in value.items()}
        for key in OPTIONAL_ENTRIES & found.keys():
            if isinstance(found[key], list):
                found[key] = [entry for entry in found[key] if entry is not None]
        return found
    if isinstance(value, (list, tuple)):
        return type(value)(without_absent(inner) for inner in value)
    return value


def without_effectless(value: Any) -> Any:
    """Without what decides how fast or how loud a stage is, and not what comes out."""
    if isinstance(value, Mapping):
        return {k: without_effectless(v) for k, v in value.items() if k not in WITHOUT_EFFECT}
    if isinstance(value, (list, tuple)):
        return [without_effectless(inner) for inner in value]
    return value
