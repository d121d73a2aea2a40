"""Renaming of state dicts by tables, every key accounted for.

A table says which units a network is made of, what each unit is called in two layouts, and which
keys of the foreign layout are left out and why. Whatever a table does not say is an error.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from torch import Tensor

MOST_NAMED = 8  # keys that an error names
INDEX = '(0|[1-9][0-9]{0,2})'  # no network has a thousand blocks; a huge one would be counted to
StateChange = Callable[[dict[str, Tensor]], dict[str, Tensor]]
OURS = ('state_dict',)  # where mmengine's checkpoints hold the weights


class KeyMappingError(ValueError):
    """A state dict does not have the layout that it should have."""


class Presence(Enum):
    """At which indices a unit occurs."""

    ALWAYS = 'at 0, 1, 2, ... without a gap, at least once'
    ALL_OR_NONE = 'nowhere, or wherever the unit of the same name that is always there is'
    ANYWHERE = 'at any indices, or nowhere'


@dataclass(frozen=True)
class Part:
    """A layer of a unit.

    Attributes:
        source: Its name within the unit; '' for the unit itself.
        target: Its name in the other layout.
        tensors: Names of its tensors to their number of dimensions; a name that ends in '?' may be
            absent, and '' is a tensor without a name of its own.
        singletons: Dimensions of length 1 that the source has behind those of the target.
    """

    source: str
    target: str
    tensors: Mapping[str, int]
    singletons: int = 0


@dataclass(frozen=True)
class Unit:
    """Layers that come together, such as a block.

    Attributes:
        source: Name, with '{n}' where an index is.
        target: Name in the other layout, with '{n}' if the source has it.
        parts: Its layers.
        presence: Where it occurs.
        synonyms: Other names that the source may have for it.
    """

    source: str
    target: str
    parts: tuple[Part, ...]
    presence: Presence = Presence.ALWAYS
    synonyms: tuple[str, ...] = ()

    @property
    def is_always(self) -> bool:
        """Whether it must be there."""
        return self.presence is Presence.ALWAYS


@dataclass(frozen=True)
class Layout:
    """How one kind of checkpoint maps to ours.

    Attributes:
        title: What it is, for people.
        units: What it consists of.
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
        structure: Of the renamed state dict before `finish`: what the config of a model needs to
            know of it, {name: value} for a JSON file.
    """

    title: str
    units: tuple[Unit, ...]
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
    slots = _slots(layout)
    if layout.prepare:
        state = layout.prepare(dict(state))
    met: dict[tuple[int, str], set[str]] = {}  # unit and index -> target templates
    renamed: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    problems: dict[str, list[str]] = {}
    for key, tensor in state.items():
        bare = _without_prefixes(key, layout.prefixes)
        if found := _find(slots, bare):
            slot, index = found
            target = slot.target.replace('{n}', index)
            met.setdefault((slot.unit, index), set()).add(slot.target)
            if target in renamed:
                problems.setdefault('doubled', []).append(f'{key} (a second {target})')
            elif not _fits(tensor, slot):
                problems.setdefault('of a wrong shape', []).append(_shown(key, tensor))
            else:
                renamed[target] = _reshaped(tensor, slot.singletons)
        elif reason := _reason(bare, layout.dropped):
            dropped[key] = reason
        else:
            problems.setdefault('unknown', []).append(key)
    if missing := _missing(layout.units, slots, met):
        problems['missing'] = missing
    if unequal := _unequal_channels(slots, met, renamed):
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
    units = tuple(
        Unit(
            unit.target,
            unit.source,
            tuple(Part(p.target, p.source, p.tensors, -p.singletons) for p in unit.parts),
            unit.presence,
        )
        for unit in layout.units
    )
    title = f'{layout.title}, converted'
    return Layout(
        title,
        units,
        layout.added,
        layout.dropped,
        prefixes=(),
        containers=OURS,
        prepare=layout.undo,
        finish=layout.complete,
    )


@dataclass(frozen=True)
class _Slot:
    """One tensor of a unit: where it is in the source and where it goes, '{n}' left open."""

    unit: int
    layer: str  # in the target
    source: str
    pattern: re.Pattern[str]
    target: str
    dimensions: int
    singletons: int
    optional: bool


def _slots(layout: Layout) -> list[_Slot]:
    slots = []
    for number, unit in enumerate(layout.units):
        for part in unit.parts:
            layer = _joined(unit.target, part.target)
            for marked, dimensions in part.tensors.items():
                name = marked.removesuffix('?')
                sources = [
                    _joined(prefix, part.source, name) for prefix in (unit.source, *unit.synonyms)
                ]
                pattern = '|'.join(map(re.escape, sources)).replace(r'\{n\}', INDEX)
                slots.append(
                    _Slot(
                        number,
                        layer,
                        ' or '.join(sources),
                        re.compile(pattern),
                        _joined(layer, name),
                        dimensions,
                        part.singletons,
                        optional=marked != name,
                    )
                )
    return slots


def _find(slots: list[_Slot], key: str) -> tuple[_Slot, str] | None:
    """The slot of a source key and its index, '' where it has none."""
    for slot in slots:
        if match := slot.pattern.fullmatch(key):
            return slot, match[match.lastindex] if match.lastindex else ''
    return None


def _fits(tensor: Tensor, slot: _Slot) -> bool:
    singletons = max(slot.singletons, 0)
    behind = tensor.shape[tensor.ndim - singletons :]
    return tensor.ndim == slot.dimensions + singletons and set(behind) <= {1}


def _missing(
    units: tuple[Unit, ...], slots: list[_Slot], met: Mapping[tuple[int, str], set[str]]
) -> list[str]:
    """Source keys that should be there."""
    indices = [{i for number, i in met if number == unit} for unit in range(len(units))]
    always = {unit.source: i for unit, i in zip(units, indices, strict=True) if unit.is_always}
    return [
        slot.source.replace('{n}', index)
        for slot in slots
        if not slot.optional
        for index in _expected(units[slot.unit], indices[slot.unit], always)
        if slot.target not in met.get((slot.unit, index), ())
    ]


def _expected(unit: Unit, indices: set[str], always: Mapping[str, set[str]]) -> list[str]:
    if unit.is_always:
        if '{n}' not in unit.source:
            return ['']
        return [str(index) for index in range(max(map(int, indices), default=0) + 1)]
    if unit.presence is Presence.ALL_OR_NONE and indices:
        indices = indices | always[unit.source]
    return sorted(indices)


def _unequal_channels(
    slots: list[_Slot], met: Mapping[tuple[int, str], set[str]], renamed: Mapping[str, Tensor]
) -> list[str]:
    """Layers whose tensors differ in their first dimension, the number of channels."""
    layers: dict[str, dict[str, Tensor]] = {}
    for number, index in met:
        for slot in slots:
            key = slot.target.replace('{n}', index)
            if slot.unit == number and key in renamed and renamed[key].ndim:
                layers.setdefault(slot.layer.replace('{n}', index), {})[key] = renamed[key]
    return [
        ' beside '.join(_shown(key, tensor) for key, tensor in tensors.items())
        for tensors in layers.values()
        if len({len(tensor) for tensor in tensors.values()}) > 1
    ]


def _without_prefixes(key: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        key = key.removeprefix(prefix)
    return key


def _reason(key: str, patterns: Mapping[str, str]) -> str | None:
    return next((why for pattern, why in patterns.items() if re.fullmatch(pattern, key)), None)


def _reshaped(tensor: Tensor, singletons: int) -> Tensor:
    """Without that many dimensions of length 1 behind; with as many more if it is negative."""
    kept = tensor.shape[: tensor.ndim - max(singletons, 0)]
    return tensor.reshape((*kept, *(1,) * -singletons))


def _joined(*names: str) -> str:
    return '.'.join(name for name in names if name)


def _shown(key: str, tensor: Tensor) -> str:
    return f'{key} {tuple(tensor.shape)}'


def _listed(keys: list[str]) -> str:
    more = f' and {len(keys) - MOST_NAMED:,} more' if len(keys) > MOST_NAMED else ''
    return ', '.join(keys[:MOST_NAMED]) + more
