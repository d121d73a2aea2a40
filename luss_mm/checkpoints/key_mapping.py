"""Renaming of state dicts by tables, every key accounted for.

A table has a line for each layer of a network: its name in another layout, its name in ours, and
what kind of layer it is. Which keys of the other layout are left out, and why, stands beside it.
Whatever a table does not say is an error.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

MOST_NAMED = 8  # keys that an error names
INDEX = '(0|[1-9][0-9]{0,2})'  # no network has a thousand blocks; a huge one would be counted to
StateChange = Callable[[dict[str, Tensor]], dict[str, Tensor]]
OURS = ('state_dict',)  # where mmengine's checkpoints hold the weights

# Kinds of layers: their tensors and the dimensions of each. '' is a tensor without a name of its
# own; '?' marks what may be absent, as batch counters of old checkpoints and of Jittor's.
NORM = dict(weight=1, bias=1)
STATISTICS = {'running_mean': 1, 'running_var': 1, 'num_batches_tracked?': 0}
KINDS: dict[str, dict[str, int]] = dict(
    conv=dict(weight=4),
    conv_bias=dict(weight=4, bias=1),
    conv_any={'weight': 4, 'bias?': 1},
    linear=dict(weight=2, bias=1),
    matrix=dict(weight=2),
    norm=NORM,
    batch_norm=NORM | STATISTICS,
    statistics=STATISTICS,
    tensor1={'': 1},
    tensor2={'': 2},
    tensor3={'': 3},
    tensor4={'': 4},
)


class KeyMappingError(ValueError):
    """A state dict does not have the layout that it should have."""


class Layer(NamedTuple):
    """A line of a table.

    Attributes:
        source: Name, with '{n}' where an index is; 'a|b' where it may have either name.
        target: Name in the other layout, with '{n}' if the source has it.
        kind: One of `KINDS`.
        group: '' for a layer that is always there, with an index at 0, 1, 2, ... without a gap; '='
            for one that is nowhere, or wherever others of its block are; any other name for layers
            that are absent or there together.
    """

    source: str
    target: str
    kind: str
    group: str = ''


def read_table(text: str, before: str = 'backbone.') -> tuple[Layer, ...]:
    """The layers of a table.

    Args:
        text: A line a layer: source, target (left out where it is the same) and kind, then '=' for
            that group, '?NAME' for a group of any name, or '?' for that of all layers of the same
            parent.
        before: Put before every target.
    """
    layers = []
    for words in filter(None, map(str.split, text.splitlines())):
        group = words.pop() if words[-1][0] in '=?' else ''
        source, *target, kind = words
        if group == '?':
            group = source.rpartition('.')[0]
        layers.append(Layer(source, before + (target or [source])[0], kind, group))
    return tuple(layers)


@dataclass(frozen=True)
class Layout:
    """How one kind of checkpoint maps to ours.

    Attributes:
        title: What it is, for people.
        layers: What it consists of.
        dropped: Pattern of a whole source key to the reason why it is left out.
        added: Pattern of a whole target key to the reason why no source key fills it.
        spare: Pattern of whole target keys that a model of ours may do without.
        prefixes: Taken off the source's keys, in this order, where they have them.
        containers: Entries of a checkpoint under which the weights may lie; '' is the checkpoint
            itself. The first is how the authors write it.
        written_prefix: Put before every key of a checkpoint that the authors' programs shall read.
        prepare: Changes the state dict before it is renamed.
        finish: Changes the renamed state dict. `undo` is then the `prepare` of the way back, and
            without it there is none.
        complete: Adds to a state dict on its way back what the authors' code needs and ours lacks.
        structure: Structure of the renamed state dict before `finish`: what the config of a model
            needs to know of it, {name: value} for a JSON file.
    """

    title: str
    layers: tuple[Layer, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)
    spare: str = r'(?!)'  # none
    prefixes: tuple[str, ...] = ('module.',)  # of DistributedDataParallel
    containers: tuple[str, ...] = ('', 'state_dict')
    written_prefix: str = ''
    prepare: StateChange | None = None
    finish: StateChange | None = None
    undo: StateChange | None = None
    complete: StateChange | None = None
    structure: Callable[[dict[str, Tensor]], dict] | None = None


@dataclass(frozen=True)
class Conversion:
    """A renamed state dict.

    Attributes:
        state: Target key to tensor.
        dropped: Source key to the reason why it was left out.
        structure: As the layout's; None where it has none.
    """

    state: dict[str, Tensor]
    dropped: dict[str, str]
    structure: dict | None = None


def map_keys(state: Mapping[str, Tensor], layout: Layout) -> Conversion:
    """Rename the keys of a state dict.

    Args:
        state: In the source's layout.
        layout: The table.

    Returns:
        The same tensors under the target's keys, and what was left out.

    Raises:
        KeyMappingError: Naming unknown, doubled and missing keys and tensors of a wrong shape.
    """
    slots = list(_slots(layout))
    if layout.prepare:
        state = layout.prepare(dict(state))
    met: dict[_Slot, dict[str, str]] = {slot: {} for slot in slots}  # index -> target key
    renamed: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    problems: dict[str, list[str]] = {}
    for key, tensor in state.items():
        bare = key
        for prefix in layout.prefixes:
            bare = bare.removeprefix(prefix)
        if found := _find(slots, bare):
            slot, index = found
            target = met[slot][index] = slot.target.replace('{n}', index)
            if target in renamed:
                problems.setdefault('doubled', []).append(f'{key} (a second {target})')
            elif tensor.ndim != slot.dimensions:
                problems.setdefault('of a wrong shape', []).append(_shown(key, tensor))
            else:
                renamed[target] = tensor
        elif reason := _reason(bare, layout.dropped):
            dropped[key] = reason
        else:
            problems.setdefault('unknown', []).append(key)
    if missing := _missing(met):
        problems['missing'] = missing
    if unequal := _unequal_channels(met, renamed):
        problems.setdefault('of a wrong shape', []).extend(unequal)
    if problems:
        lines = '\n'.join(
            f'  {len(keys)} {kind}: {_listed(keys)}' for kind, keys in problems.items()
        )
        raise KeyMappingError(f'not {layout.title}. Keys:\n{lines}\nChoose the right format.')
    structure = layout.structure(renamed) if layout.structure else None
    return Conversion(layout.finish(renamed) if layout.finish else renamed, dropped, structure)


def reverse(layout: Layout) -> Layout:
    """The table of the opposite direction.

    Raises:
        KeyMappingError: If there is none.
    """
    if layout.finish and not layout.undo:
        raise KeyMappingError(f'{layout.title}: there is no way back')
    return Layout(
        f'{layout.title}, converted',
        tuple(
            Layer(target, source.partition('|')[0], *rest)
            for source, target, *rest in layout.layers
        ),
        layout.added,
        layout.dropped,
        prefixes=(),
        containers=OURS,
        prepare=layout.undo,
        finish=layout.complete,
    )


class _Slot(NamedTuple):
    """One tensor of a layer: where it is in the source and where it goes, '{n}' left open."""

    layer: Layer
    source: str
    pattern: re.Pattern[str]
    target: str
    dimensions: int
    optional: bool


def _slots(layout: Layout) -> Iterator[_Slot]:
    for layer in layout.layers:
        for marked, dimensions in KINDS[layer.kind].items():
            name = marked.removesuffix('?')
            sources = [_joined(source, name) for source in layer.source.split('|')]
            pattern = '|'.join(map(re.escape, sources)).replace(r'\{n\}', INDEX)
            target = _joined(layer.target, name)
            shown = ' or '.join(sources)
            yield _Slot(
                layer, shown, re.compile(pattern), target, dimensions, optional=marked != name
            )


def _find(slots: list[_Slot], key: str) -> tuple[_Slot, str] | None:
    """The slot of a source key and its index, '' where it has none."""
    for slot in slots:
        if match := slot.pattern.fullmatch(key):
            return slot, match[match.lastindex] if match.lastindex else ''
    return None


def _missing(met: Mapping[_Slot, Mapping[str, str]]) -> list[str]:
    """Source keys that should be there."""
    of_block: dict[str, set[str]] = {}
    of_group: dict[str, set[str]] = {}
    for slot, indices in met.items():
        of_block.setdefault(_block(slot), set()).update(indices)
        of_group.setdefault(_group(slot), set()).update(indices)

    def expected(slot: _Slot) -> list[str]:
        group = slot.layer.group
        if group not in ('', '='):
            return sorted(of_group[group])
        if group == '=' and not of_group[_group(slot)]:
            return []
        if '{n}' not in slot.source:
            return ['']
        return list(map(str, range(1 + max(map(int, of_block[_block(slot)]), default=0))))

    return [
        slot.source.replace('{n}', index)
        for slot, indices in met.items()
        if not slot.optional
        for index in expected(slot)
        if index not in indices
    ]


def _group(slot: _Slot) -> str:
    """Name of the group of a slot, a block's own if it is absent or there with the whole block."""
    return slot.layer.group + _block(slot) * (slot.layer.group == '=')


def _block(slot: _Slot) -> str:
    return slot.source.partition('{n}')[0]


def _unequal_channels(
    met: Mapping[_Slot, Mapping[str, str]], renamed: Mapping[str, Tensor]
) -> list[str]:
    """Layers whose tensors differ in their first dimension, the number of channels."""
    layers: dict[tuple[Layer, str], dict[str, Tensor]] = {}
    for slot, targets in met.items():
        for index, key in targets.items():
            if key in renamed and renamed[key].ndim:
                layers.setdefault((slot.layer, index), {})[key] = renamed[key]
    return [
        ' beside '.join(_shown(key, tensor) for key, tensor in tensors.items())
        for tensors in layers.values()
        if len({len(tensor) for tensor in tensors.values()}) > 1
    ]


def _reason(key: str, patterns: Mapping[str, str]) -> str | None:
    return next((why for pattern, why in patterns.items() if re.fullmatch(pattern, key)), None)


def _joined(layer: str, tensor: str) -> str:
    return f'{layer}.{tensor}' if tensor else layer


def _shown(key: str, tensor: Tensor) -> str:
    return f'{key} {tuple(tensor.shape)}'


def _listed(keys: list[str]) -> str:
    more = f' and {len(keys) - MOST_NAMED:,} more' if len(keys) > MOST_NAMED else ''
    return ', '.join(keys[:MOST_NAMED]) + more
