"""Recorded results as tables: mean and range over seeds, and whether ranges are apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PLAIN, PASS, PDSO = 'plain baseline', 'PASS', 'PDSO'
METHODS = (PLAIN, PASS, '+ DFF', '+ CSD', '+ SPO', PDSO)
REFINED = ', refined'
SHOWN = {PDSO: 'all (PDSO)', PDSO + REFINED: 'all (PDSO), refined'}
COMPARED_WITH = {PASS: PLAIN, **dict.fromkeys(METHODS[2:], PASS)}
NOT_RUN = 'not run'
FEWEST_SEEDS = 3  # a range over fewer says nothing
TOO_FEW = 'too few seeds'
KEY = ('set', 'weights', 'method', 'seed', 'setting')

Entries = Sequence[Mapping[str, Any]]


def check_method(name: str) -> str:
    """Refuse a method that no table has a row for.

    Args:
        name: One of `METHODS`, or one of them and `REFINED`.

    Raises:
        ValueError: If it is neither.
    """
    if name.removesuffix(REFINED) not in METHODS:
        raise ValueError(
            f'no method {name!r}: one of {", ".join(METHODS)}, each also with {REFINED!r}'
        )
    return name


def merge_entries(old: Entries, new: Entries) -> list[Mapping[str, Any]]:
    """Recorded results with new ones, which replace those of the same `KEY`, in a fixed order."""
    entries = {tuple(entry[name] for name in KEY): entry for entry in [*old, *new]}
    return sorted(entries.values(), key=_order)


def _order(entry: Mapping[str, Any]) -> tuple:
    base = entry['method'].removesuffix(REFINED)
    place = METHODS.index(base), entry['method']
    return entry['weights'], entry['setting'], entry['set'], place, entry['seed']


def result_tables(entries: Entries) -> str:
    """All tables as Markdown: mIoU, image accuracy with F-beta, and comparisons.

    Weights with several settings have tables for each. The plain baseline is taken from those
    without a setting where it has not been recorded with the same one.

    Args:
        entries: Dicts with `KEY`, `metrics` (in percent, as scores.json names them) and
            `labels_of_weights`.
    """
    if not entries:
        return 'No run has been recorded yet.\n'
    groups = sorted({(entry['weights'], entry['setting']) for entry in entries})
    methods_of = {
        group: {e['method'] for e in entries if (e['weights'], e['setting']) == group}
        for group in groups
    }
    return '\n'.join(
        _tables_of(entries, weights, setting)
        for weights, setting in groups
        # A baseline alone has no table of its own if another one of these weights shows it.
        if methods_of[weights, setting] != {PLAIN}
        or len([group for group in groups if group[0] == weights]) == 1
    )


def _tables_of(entries: Entries, weights: str, setting: str) -> str:
    own = [e for e in entries if e['weights'] == weights]
    chosen = [e for e in own if e['setting'] == setting]
    recorded = {e['set'] for e in chosen if e['method'] == PLAIN}
    chosen += [
        e
        for e in own
        if setting and e['setting'] == '' and e['method'] == PLAIN and e['set'] not in recorded
    ]
    sets = sorted({e['set'] for e in chosen})
    present = {e['method'] for e in chosen}
    rows = [
        name
        for method in METHODS
        for name in (method, method + REFINED)
        if name == method or name in present
    ]
    seen = sorted({text for e in chosen for text in e['labels_of_weights']})

    def values(name: str, method: str, metric: str) -> list[float]:
        return [e['metrics'][metric] for e in chosen if e['set'] == name and e['method'] == method]

    def table(columns: Iterable[tuple[str, str, str]]) -> list[str]:
        columns = list(columns)
        return _table(
            ['method', *(title for title, _, _ in columns)],
            [
                [SHOWN.get(m, m), *(cell(values(s, m, metric)) for _, s, metric in columns)]
                for m in rows
            ],
        )

    miou = table((name, name, 'mIoU') for name in sets)
    others = table((f'{n}, {m}', n, m) for n in sets for m in ('ImgAcc', 'F-beta'))
    compared = [
        [
            SHOWN.get(method, method),
            SHOWN.get(other, other),
            *(compare(values(s, method, 'mIoU'), values(s, other, 'mIoU')) for s in sets),
        ]
        for method in rows
        if (other := compared_with(method))
    ]
    return '\n'.join(
        [
            f'### {weights}' + (f', {setting}' if setting else ''),
            '',
            f'Labels that the weights have seen: {"; ".join(seen) or "none"}.',
            '',
            'Validation mIoU:',
            '',
            *miou,
            '',
            'Image accuracy and F-beta:',
            '',
            *others,
            '',
            'mIoU of all seeds above ("above") or below ("below") all seeds of another method:',
            '',
            *_table(['method', 'compared with', *sets], compared),
            '',
        ]
    )


def compared_with(method: str) -> str | None:
    """What a method has to beat: a refined one itself without that; None for the baseline."""
    if method.endswith(REFINED):
        return method.removesuffix(REFINED)
    return COMPARED_WITH.get(method)


def cell(values: Sequence[float]) -> str:
    """Mean, range and number of seeds.

    Args:
        values: One for each seed, in percent.
    """
    if not values:
        return NOT_RUN
    mean = sum(values) / len(values)
    seeds = '1 seed' if len(values) == 1 else f'{len(values)} seeds'
    return f'{mean:.1f} ({min(values):.1f} to {max(values):.1f}), {seeds}'


def compare(values: Sequence[float], others: Sequence[float]) -> str:
    """Whether two ranges are apart: 'above', 'below' or 'none', if both have seeds enough."""
    if not values or not others:
        return NOT_RUN
    if min(len(values), len(others)) < FEWEST_SEEDS:
        return TOO_FEW
    if min(values) > max(others):
        return 'above'
    return 'below' if max(values) < min(others) else 'none'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ['---'] * len(header), *rows]
    return ['| ' + ' | '.join(line) + ' |' for line in lines]
