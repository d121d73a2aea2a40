"""Backbones by name: one image through the network tells what the settings of a recipe must be."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import Tensor, nn

from luss_mm.datasets.samplers import sample_randomness
from luss_mm.models.timm_feature_maps import TIMMFeatureMaps, feature_levels, import_timm
from luss_mm.packaged_weights import TIMM, find_packaged
from luss_mm.recipes.settings import Settings, SettingsError, did_you_mean, first_line

SIDE = 224  # of the image that tells the strides: 2 to 32, and patches of 14 pixels, divide it
WHOLE_IMAGE = (97, 129)  # as photographs are: the next multiples of 4, 8, 16 and 32 differ
SIZE_DIVISORS = (1, 4, 8, 16, 32)  # that TIMMFeatureMaps can stretch images to multiples of
DEEPEST, SHALLOWEST = 32, 4  # strides that are of use
CACHED_FROM = 8  # pixels of the finest maps that are kept of a frozen backbone
TIMM_TYPE = 'TIMMFeatureMaps'
NAME = re.compile(r'(?:(timm|mmpretrain|mmseg):)?(.+)')
# What makes backbones of mmpretrain return maps rather than vectors.
AS_MAPS = dict(out_type='featmap', gap_before_final_norm=False)


class Level(NamedTuple):
    """One feature map of a backbone.

    Attributes:
        index: Among its outputs.
        channels: C.
        stride: Pixels of the image between two cells.
    """

    index: int
    channels: int
    stride: int


def look_at_backbone(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings that follow from the name of a backbone, and from `checkpoint='timm'`.

    A name is `timm:NETWORK`, or a type of mmpretrain or mmseg with its architecture or depth
    behind a hyphen: `mmpretrain:ConvNeXt-small`, `mmseg:ResNet-50`, `MixVisionTransformer`.

    Args:
        values: Settings of a recipe.

    Returns:
        Settings, and a line about them; also `foreground` where it is None.

    Raises:
        SettingsError: If there is no such network, it cannot give feature maps of images of any
            size, or the sizes of views and crops do not suit it.
    """
    found: dict[str, Any] = {}
    notes: list[str] = []
    backbone, levels = values.get('backbone'), []
    if isinstance(name := backbone, str):
        if 'in_index' not in values:
            raise SettingsError(
                f'backbone={name}: only recipes of PASS and PDSO take a name. Write its dict'
            )
        with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
            backbone, levels = _describe(name)
        found |= dict(backbone=backbone) | _settings_of(levels, values)
        maps = ', '.join(f'{level.channels} at {level.stride}' for level in levels)
        notes.append(f'backbone={name}: maps with these channels at strides in pixels: {maps}')
    is_grid = bool(levels) and len({level.stride for level in levels}) == 1
    if values.get('checkpoint') == 'timm':
        found |= _weights_of_timm(backbone, values)
        notes.append(f'checkpoint={found["checkpoint"]}, with its mean and standard deviation')
    elif levels and find_packaged(values.get('checkpoint')):
        raise SettingsError(
            f'checkpoint={values["checkpoint"]} are weights of the backbone that '
            f'backbone={name} replaces. Set checkpoint=timm, a file, or None to pretrain it'
        )
    if 'foreground' in values and values['foreground'] is None:
        found['foreground'] = 'attention' if is_grid else 'length'
        if is_grid:
            notes.append("foreground='attention': the vectors of a transformer tell none by length")
    if levels:
        _check_sizes(name, levels, values | found, is_grid)
    return found, notes


def strides_of(maps: list[Tensor] | tuple[Tensor, ...], side: int) -> list[int]:
    """Pixels between cells of each map (B, C, h, w) of square images of a side."""
    return [round(side / found.shape[2]) for found in maps]


def _describe(name: str) -> tuple[dict[str, Any], list[Level]]:
    """Config of a backbone with the outputs that are of use, and these outputs."""
    config = _config_of(name)
    network = _build(name, config)
    if numbers := _all_outputs(network):
        try:
            everything = config | dict(out_indices=numbers)
            levels = _levels_of(name, _build(name, everything))
            chosen = _choose(levels)
            config |= dict(out_indices=[numbers[level.index] for level in chosen])
        except SettingsError:
            pass  # not every layer can be an output: the network's own choice is taken
        else:
            network = _build(name, config)
    levels = _levels_of(name, network)
    if (divisor := _size_divisor(name, network)) > 1:
        config['size_divisor'] = divisor
    return config, levels


@torch.no_grad()
def _size_divisor(name: str, network: nn.Module) -> int:
    """The smallest one with which a network takes photographs of any size."""
    reason = None
    can_stretch = isinstance(network, TIMMFeatureMaps) and not network.is_plain_transformer
    for divisor in SIZE_DIVISORS if can_stretch else SIZE_DIVISORS[:1]:
        if can_stretch:
            network.size_divisors = (divisor, divisor)
        try:
            network(torch.zeros(1, 3, *WHOLE_IMAGE))
        except Exception as error:
            reason = reason or error
        else:
            return divisor
    shown = ' x '.join(map(str, WHOLE_IMAGE))
    raise SettingsError(
        f'backbone={name}: takes images of some sizes only, not of {shown} pixels '
        f'({first_line(reason)}), but recipes show it photographs of any size. Set another one: '
        'of timm, Swin, HRNet, ConvNeXt, ResNet and most ViTs take them'
    ) from reason


def _config_of(name: str) -> dict[str, Any]:
    library, kind = NAME.fullmatch(name).groups()
    if library == 'timm':
        try:
            import_timm(kind)
        except (ModuleNotFoundError, ValueError) as error:
            raise SettingsError(f'backbone={name}: {error}') from error
        return dict(type=TIMM_TYPE, model_name=kind, out_indices=[-1])
    kind, _, variant = kind.partition('-')
    config: dict[str, Any] = dict(type=f'{library}.{kind}' if library == 'mmpretrain' else kind)
    network = MODELS.get(config['type'])
    if network is None:
        known = [other for other in _registered(library) if other]
        raise SettingsError(
            f'backbone={name}: no registered type {kind!r}{did_you_mean(kind, known)} Names are '
            'timm:NETWORK, mmpretrain:TYPE or TYPE, with -ARCHITECTURE or -DEPTH where it has some'
        )
    arguments = {
        argument: parameter
        for owner in reversed(network.__mro__)
        if '__init__' in vars(owner)
        for argument, parameter in inspect.signature(owner.__init__).parameters.items()
    }
    config |= {key: value for key, value in AS_MAPS.items() if key in arguments}
    if variant:
        which = next((key for key in ('arch', 'depth') if key in arguments), None)
        if which is None:
            raise SettingsError(
                f'backbone={name}: {kind} has no architectures, leave out -{variant}'
            )
        config[which] = int(variant) if which == 'depth' and variant.isdigit() else variant
    return config


def _registered(library: str | None) -> list[str]:
    registry = MODELS
    if library == 'mmpretrain':
        from mmpretrain.registry import MODELS as registry
    return list(registry.module_dict)


def _build(name: str, config: Mapping[str, Any]) -> nn.Module:
    try:
        network = MODELS.build(dict(config))
    except Exception as error:  # of any library: what it says is the reason
        raise SettingsError(
            f'backbone={name}: cannot be built ({first_line(error)}). One that needs arguments is '
            'written as a dict in a recipe of your own'
        ) from error
    network.eval()  # apart: some of mmseg's return None
    return network


def _all_outputs(network: nn.Module) -> list[int]:
    """Positions of all maps that a network can return; empty if that is not known."""
    if isinstance(inner := getattr(network, 'network', None), nn.Module):
        return list(range(len(feature_levels(inner))))
    indices = getattr(network, 'out_indices', None)
    if isinstance(indices, int):
        indices = [indices]
    return list(range(max(indices) + 1)) if indices and max(indices) >= 0 else []


@torch.no_grad()
def _levels_of(name: str, network: nn.Module) -> list[Level]:
    try:
        maps = network(torch.zeros(1, 3, SIDE, SIDE))
    except Exception as error:
        raise SettingsError(
            f'backbone={name}: fails on an image of {SIDE} x {SIDE} pixels ({first_line(error)})'
        ) from error
    if not isinstance(maps, (list, tuple)) or not all(
        isinstance(found, Tensor) and found.ndim == 4 for found in maps
    ):
        raise SettingsError(f'backbone={name}: returns no tuple of feature maps (B, C, h, w)')
    strides = strides_of(maps, SIDE)
    return [Level(i, found.shape[1], strides[i]) for i, found in enumerate(maps)]


def _choose(levels: list[Level]) -> list[Level]:
    """The last map of each stride; of a grid of patches those after each quarter of the layers."""
    if len({level.stride for level in levels}) == 1:
        return [levels[i * len(levels) // 4 - 1] for i in range(1, 5) if i * len(levels) >= 4]
    last = {level.stride: level for level in levels}
    return [level for stride, level in sorted(last.items()) if SHALLOWEST <= stride <= DEEPEST]


def _settings_of(levels: list[Level], values: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the maps, for those settings that the recipe has."""
    deep = len(levels) - 1
    shallow = max(deep - 1, 0)
    kept = [i for i, level in enumerate(levels) if level.stride >= CACHED_FROM]
    listed = kept if 'map_outputs' in values else range(len(levels))
    # By reference, so that no setting of the recipe is left unused.
    own = {shallow: '${shallow_channels}'} if 'shallow_channels' in values else {}
    own[deep] = '${feature_channels}'
    found = dict(
        in_index=deep,
        feature_channels=levels[deep].channels,
        shallow_channels=levels[shallow].channels,
        output_channels=[own.get(i, levels[i].channels) for i in listed],
        map_outputs=kept,
        map_strides=[levels[i].stride for i in kept],
    )
    if values.get('attention_upsample', 1) > 1:  # to about stride 8
        found['attention_upsample'] = 4 if levels[deep].stride >= DEEPEST else 2
    if heads := values.get('shallow_heads'):
        head = dict(heads[0], in_index=shallow, in_channels=own.get(shallow, levels[shallow][1]))
        found['shallow_heads'] = [head] if deep else []
    return {key: value for key, value in found.items() if key in values}


def _check_sizes(name: str, levels: list[Level], values: Mapping[str, Any], is_grid: bool) -> None:
    """Refuse sizes of images that cut patches, or cells of maps that are kept, into pieces."""
    stride = max(level.stride for level in levels)
    wrong = {}
    for key, size in _sizes(values):
        must_divide = is_grid or (key == 'crop_size' and values.get('cache_maps'))
        if size < stride or (must_divide and size % stride):
            wrong[key] = (size, max(size // stride, 1) * stride)
    if wrong:
        shown = ', '.join(f'{key}={size}' for key, (size, _) in wrong.items())
        instead = ' '.join(f'{key}={size}' for key, (_, size) in wrong.items())
        raise SettingsError(
            f'backbone={name}: a cell of its coarsest map is {stride} x {stride} pixels, which do '
            f'not divide {shown}. Set {instead}'
        )


def _sizes(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Names and sides of the square images that networks are shown by the stages that run."""
    settings = Settings(values)
    for key in ('crop_size', 'resize_side'):
        if key in values:
            yield key, settings.resolve(values[key], key)
    views = dict(pretrain_views=settings.resolve(values.get('pretrains', True), 'pretrains'))
    views['attention_views'] = values.get('foreground', 'attention') == 'attention'
    for key in (key for key, are_used in views.items() if are_used):
        for i, view in enumerate(values.get(key, ())):
            yield f'{key}.{i}.size', settings.resolve(view['size'], key)


def _weights_of_timm(backbone: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that timm publishes for a backbone, and the colours that they expect."""
    if not isinstance(backbone, Mapping) or backbone.get('type') != TIMM_TYPE:
        raise SettingsError("checkpoint='timm' needs a backbone of timm: set backbone=timm:NETWORK")
    name = backbone['model_name']
    weights = import_timm(name).get_pretrained_cfg(name)
    if weights is None or not weights.hf_hub_id:
        raise SettingsError(f"checkpoint='timm': timm publishes no weights of {name}")
    full_name = f'{weights.architecture}.{weights.tag}' if weights.tag else weights.architecture
    found = dict(
        checkpoint=f'{TIMM}{full_name}',
        image_mean=[round(255 * value, 3) for value in weights.mean],
        image_std=[round(255 * value, 3) for value in weights.std],
    )
    return {key: value for key, value in found.items() if key in values}
