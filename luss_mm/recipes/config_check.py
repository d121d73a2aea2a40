"""Mistakes that a config alone shows, found before anything trains."""

import ast
import difflib
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from mmseg import registry as mmseg_registry
from mmseg.registry import MODELS

from luss_mm.datasets.samplers import sample_randomness
from luss_mm.recipes.settings import REFERENCE, SettingsError, did_you_mean, first_line

# Keys that mmengine's Runner reads from the config itself rather than as arguments.
EXTRA_RUNNER_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
RUNNER_KEYS = (set(inspect.signature(Runner.__init__).parameters) | EXTRA_RUNNER_KEYS) - {
    'self',
    'cfg',
}
# Blocks whose builders take keys of their own away before the constructor sees them.
BUILDER_BLOCKS = {'act_cfg', 'conv_cfg', 'init_cfg', 'norm_cfg', 'upsample_cfg'}
# Arguments that a builder takes away likewise.
BUILDER_ARGUMENTS = {
    '_scope_',
    'constructor',
    'convert_to_iter_based',
    'paramwise_cfg',
    'priority',
    'type',
}
REGISTRIES = [r for r in vars(mmseg_registry).values() if isinstance(r, Registry)]
_known: dict[str, Any] = {}  # types that a registry has had


def check_stage(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a stage with unknown keys or arguments.

    Arguments are checked wherever a `type` is found in a registry and its constructor says what it
    takes; a constructor that passes **kwargs on to its base class is checked against that too.

    Raises:
        SettingsError: Naming the key and, if there is one, the close match.
    """
    for key in config:
        if key not in RUNNER_KEYS:
            raise SettingsError(
                f'stages.{name}.{key}: mmengine has no such key{did_you_mean(key, RUNNER_KEYS)}'
            )
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmseg')):
        for where, block in typed_blocks(config, f'stages.{name}'):
            _check_arguments(where, block)


def typed_blocks(value: Any, where: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and content of every block with a `type` in a nested config."""
    if isinstance(value, Mapping):
        if isinstance(value.get('type'), str):
            yield where, value
        for key, inner in value.items():
            if key not in BUILDER_BLOCKS:
                yield from typed_blocks(inner, f'{where}.{key}')
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from typed_blocks(inner, f'{where}[{i}]')


def _check_arguments(where: str, block: Mapping[str, Any]) -> None:
    target = _find(block['type'])
    if target is None:
        _refuse_misspelt_type(where, block['type'])
    accepted = _accepted_arguments(target) if inspect.isclass(target) else None
    if accepted is None:
        return
    for key in block:
        if key not in accepted | BUILDER_ARGUMENTS:
            raise SettingsError(
                f'{where}.{key}: {block["type"]} takes no such argument'
                f'{did_you_mean(key, accepted)}'
            )


def _find(name: str) -> Any:
    """The class of that name, or None. Asked once: registries try to import what they lack."""
    if name not in _known:
        found = (registry.get(name) for registry in REGISTRIES)
        if (kind := next((kind for kind in found if kind is not None), None)) is None:
            return None
        _known[name] = kind
    return _known[name]


def _refuse_misspelt_type(where: str, name: str) -> None:
    """Only if something of nearly that name is registered: not every `type` is in a registry."""
    registered = {known for registry in REGISTRIES for known in _names(registry)}
    if close := difflib.get_close_matches(name, registered, n=1, cutoff=0.8):
        raise SettingsError(
            f'{where}.type: nothing is registered as {name!r}; did you mean {close[0]!r}?'
        )


def _names(registry: Registry | None) -> Iterator[str]:
    while registry is not None:
        yield from registry.module_dict
        registry = registry.parent


def _accepted_arguments(target: type) -> set[str] | None:
    """Keyword arguments of a class, or None where they cannot be known.

    A constructor's **kwargs are those of the base class only if they go to its constructor and
    nowhere else: wrappers of other packages hand them to those.
    """
    accepted: set[str] = set()
    for cls in target.__mro__:
        if '__init__' not in vars(cls) or cls is object:  # whose signature takes anything
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        accepted |= {
            p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        }
        rest = next((p.name for p in parameters if p.kind == p.VAR_KEYWORD), None)
        if rest is None:
            return accepted
        taken = _taken_on_the_way(cls.__init__, rest)
        if taken is None:
            return None
        accepted |= taken
    return accepted


def _taken_on_the_way(constructor: Any, rest: str) -> set[str] | None:
    """Keys that a constructor reads from its **kwargs before the base class gets them.

    Args:
        constructor: An `__init__` with **kwargs.
        rest: Their name.

    Returns:
        The keys; None if the source cannot be read or does anything else with them.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(constructor)))
    except (OSError, SyntaxError, TypeError):
        return None
    understood, taken = 0, set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr='__init__'), keywords=keywords):
                passed = (part for k in keywords if k.arg is None for part in ast.walk(k.value))
                understood += sum(_is_name(part, rest) for part in passed)
            case ast.Call(
                func=ast.Attribute(value=owner, attr='get' | 'pop' | 'setdefault'),
                args=[ast.Constant(value=str(key)), *_],
            ) if _is_name(owner, rest):
                understood, taken = understood + 1, taken | {key}
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))) if _is_name(
                owner, rest
            ):
                understood, taken = understood + 1, taken | {key}
            case ast.Compare(left=ast.Constant(value=str(key)), comparators=[owner]) if _is_name(
                owner, rest
            ):
                understood, taken = understood + 1, taken | {key}
    uses = sum(_is_name(node, rest) for node in ast.walk(tree))
    return taken if uses == understood else None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


TRIAL_SIDE = 64  # pixels of the image that a backbone is tried on
HEADS = ('head', 'pixel_to_pixel')  # of PASSPretrainer, they read the model's own in_index


def check_schedule(name: str, config: Mapping[str, Any], template: Mapping[str, Any]) -> None:
    """Refuse a warm-up or another part of a schedule that ends before it begins.

    Args:
        name: Name of the stage.
        config: Resolved.
        template: As the recipe has it, for the names of settings.

    Raises:
        SettingsError: Naming the settings.
    """
    schedulers = config.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    written = template.get('param_scheduler')
    # What a choice leaves out comes first.
    written = written[-len(schedulers) :] if isinstance(written, list) else [{}] * len(schedulers)
    for scheduler, own in zip(schedulers, written, strict=True):
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        if end is None or begin < end:
            continue
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
            raise SettingsError(
                f'{where}.backbone: cannot be built ({first_line(error)})'
            ) from error
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


def check_compile(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Compile one operation with the settings of every stage that mmengine will compile.

    Args:
        stages: Name of each training stage to its resolved config, with mmengine's key `compile` or
            without it.

    Raises:
        SettingsError: If `compile` is neither a bool nor a dict, or torch cannot compile with it.
    """
    tried: list[Mapping[str, Any]] = []
    for name, stage in stages.items():
        wanted = stage.get('compile')
        if wanted is None or wanted is False:
            continue
        settings = {} if wanted is True else wanted
        if not isinstance(settings, Mapping):
            raise SettingsError(
                f'stages.{name}.compile: True, False or the arguments of torch.compile, not '
                f'{wanted!r}'
            )
        if settings not in tried:
            _try_to_compile(name, settings)
            tried.append(settings)


def _try_to_compile(name: str, settings: Mapping[str, Any]) -> None:
    try:
        torch.compile(lambda x: x.sin() + 1, **settings)(torch.zeros(4, device=get_device()))
    except Exception as error:  # of dynamo, of the backend, or of the compiler: no common class
        reason = ' '.join(str(error).partition('\n\n')[0].split()).rstrip('.')
        raise SettingsError(
            f'stages.{name}.compile: torch.compile fails here: {reason}. Set compile=False, or '
            "install what it lacks (the backend 'inductor' needs g++ on a CPU, Triton on a GPU)."
        ) from error
