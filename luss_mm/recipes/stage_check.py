"""What a config alone says that a training would fail at, found before anything trains."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from luss_mm.datasets.sample_seed import sample_randomness
from luss_mm.recipes.settings import REFERENCE, SettingsError

TRIAL_SIDE = 64  # pixels of the image that a backbone is tried on
HEADS = ('head', 'pixel_to_pixel')  # of PASSPretrainer, they read the model's own in_index


def check_schedule(name: str, config: Mapping[str, Any], template: Mapping[str, Any]) -> None:
    """Refuse a warm-up or another part of a schedule that ends before it begins.

    Args:
        name: Of the stage.
        config: Resolved.
        template: As the recipe has it, for the names of settings.

    Raises:
        SettingsError: Naming the settings.
    """
    schedulers = config.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    written = template.get('param_scheduler')
    for i, scheduler in enumerate(schedulers):
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        if end is None or begin < end:
            continue
        own = written[i] if isinstance(written, list) else {}
        first, last = (_setting_of(own, key) for key in ('begin', 'end'))
        raise SettingsError(
            f'stages.{name}.param_scheduler: {scheduler["type"]} would begin at {first}={begin} '
            f'and end at {last}={end}. Set a smaller {first} or a larger {last}.'
        )


def check_features(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse heads that do not fit the feature maps of their backbone.

    Each backbone is built once and sees one small image; what cannot be tried like that passes.

    Args:
        stages: Name of each training stage to its resolved config.

    Raises:
        SettingsError: If a backbone cannot be built, or a head reads a map that it does not have,
            or one of another number of channels.
    """
    tried: dict[str, list[int] | None] = {}
    for name, stage in stages.items():
        with DefaultScope.overwrite_default_scope(stage.get('default_scope', 'mmseg')):
            for where, model in _models_with_backbone(stage['model'], f'stages.{name}.model'):
                key = json.dumps(model['backbone'], sort_keys=True, default=str)
                if key not in tried:
                    in_windows = (model.get('test_cfg') or {}).get('mode') == 'slide'
                    tried[key] = _channels_of(model['backbone'], where, in_windows)
                if tried[key] is not None:
                    for part, index, wanted in _wanted_maps(model, where):
                        _check_map(part, index, wanted, tried[key])


def _setting_of(scheduler: Mapping[str, Any], key: str) -> str:
    """Name of the setting that a scheduler's key refers to, else the key."""
    reference = REFERENCE.fullmatch(str(scheduler.get(key)))
    return reference[1] if reference else key


def _models_with_backbone(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if isinstance(value.get('backbone'), Mapping) and not value.get('neck'):
            yield where, value
        for key, inner in value.items():
            yield from _models_with_backbone(inner, f'{where}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _models_with_backbone(inner, f'{where}[{i}]')


def _channels_of(
    backbone: Mapping[str, Any], where: str, in_windows: bool = False
) -> list[int] | None:
    """Channels of each map that a backbone returns; None if it cannot be tried.

    A backbone for images of one size, as BEiT with its position bias, is refused unless it sees
    windows of images alone.
    """
    with sample_randomness(0, 0, 0), torch.no_grad():
        try:
            network = MODELS.build(dict(backbone))
        except (AssertionError, IndexError, TypeError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise SettingsError(f'{where}.backbone: cannot be built ({reason}).') from error
        network.eval()  # apart: some of mmseg's return None
        try:
            maps = network(torch.zeros(1, 3, TRIAL_SIDE, TRIAL_SIDE))
        except Exception as error:  # it may want a GPU or other inputs: no reason not to train
            side = getattr(network, 'img_size', None)
            side = side if isinstance(side, int) or not side else max(side)
            if side and not in_windows and _takes(network, side):
                raise SettingsError(
                    f'{where}.backbone: {backbone["type"]} takes images of {side} x {side} pixels '
                    f'alone ({type(error).__name__} with others). Choose another backbone, or '
                    f"train on crops of that size and predict with test_cfg.mode='slide'"
                ) from error
            return None
    if not isinstance(maps, (list, tuple)) or not all(
        isinstance(found, torch.Tensor) and found.ndim == 4 for found in maps
    ):
        return None
    return [found.shape[1] for found in maps]


def _takes(network: torch.nn.Module, side: int) -> bool:
    try:
        network(torch.zeros(1, 3, side, side))
    except Exception:
        return False
    return True


def _wanted_maps(
    model: Mapping[str, Any], where: str
) -> Iterator[tuple[str, int | Sequence[int], int | Sequence[int] | None]]:
    """Each part that reads feature maps: its place, which it reads and how many channels."""
    own = model.get('in_index', -1)
    if 'in_index' in model:
        yield where, own, model.get('channels')
    for key, part in model.items():
        parts = part if isinstance(part, (list, tuple)) else [part]
        for head in parts:
            if not isinstance(head, Mapping) or 'in_channels' not in head or key == 'backbone':
                continue
            if 'in_index' in head or key in HEADS or key.endswith('decode_head'):
                yield f'{where}.{key}', head.get('in_index', own), head['in_channels']


def _check_map(
    where: str,
    index: int | Sequence[int],
    wanted: int | Sequence[int] | None,
    channels: list[int],
) -> None:
    indices = [index] if isinstance(index, int) else list(index)
    counts = [wanted] if isinstance(wanted, int) else list(wanted or [None] * len(indices))
    for i, count in zip(indices, counts, strict=False):
        if not -len(channels) <= i < len(channels):
            raise SettingsError(
                f'{where}: reads output {i} of the backbone, which has {len(channels)}. Set '
                'another in_index, or out_indices of the backbone.'
            )
        if count is not None and count != channels[i]:
            raise SettingsError(
                f'{where}: expects {count} channels, but output {i} of the backbone has '
                f'{channels[i]} (its outputs: {", ".join(map(str, channels))}). Set '
                'feature_channels, or whatever setting in_channels comes from, to it.'
            )
