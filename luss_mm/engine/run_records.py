"""Finished runs and plain baselines in a file of results, and the tables that are made of it."""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luss_mm.pipeline.image_counts import judge_run
from luss_mm.work_dir.atomic_files import write_atomically
from luss_mm.work_dir.run_folder import RunFolder, read_json

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
PARTS = ('use_dff', 'use_csd', 'use_spo')
CPU_INFO = Path('/proc/cpuinfo')


def record_run(work_dir: str | Path, method: str, seed: int) -> dict[str, Any]:
    """What a finished run says of itself.

    Args:
        work_dir: Work directory of the run, on the machine that it ran on.
        method: A row of the tables, see `METHODS`.
        seed: Seed of the run.

    Returns:
        JSON-like, without the paths of this machine.

    Raises:
        FileNotFoundError: If the run is not finished, or was not scored.
        ValueError: If it has another seed, or other parts of PDSO than the method.
    """
    from luss_mm.inference.frozen_backbone import labels_of_weights

    run = RunFolder.read(work_dir)
    settings = run.settings
    _check_identity(run, method, seed)
    stage = run.stage(run.last)
    if (metrics := stage.metrics()) is None:
        raise FileNotFoundError(
            f'{stage.path}: the run was not scored. Give it a split with masks.'
        )
    manifests = run.manifests
    return dict(
        method=method,
        seed=seed,
        metrics=metrics,
        seconds=round(sum(m['seconds'] for name, m in manifests.items() if run.is_stage(name))),
        labels_used=run.labels_used,
        used_sam=run.used_sam,
        labels_of_weights=_without_paths(labels_of_weights(settings.get('checkpoint'))),
        probably_failed=judge_run(run.path, run.last).failures,
        date=manifests[run.last]['finished'].split()[0],
        versions=manifests[run.last]['versions'],
        machine=describe_machine(),
        settings=_plain(settings),
        label_quality={
            q.path.name: _rounded(read_json(q.report)['steps']) for q in run.qualities()
        },
    )


def record_baseline(file: str | Path) -> list[dict[str, Any]]:
    """What `tools/plain_baseline.py --out` wrote, an entry for each seed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file.
    """
    from luss_mm.work_dir.artifact import installed_versions

    named = 'weights', 'weights_sha256', 'num_clusters'  # of what decides the scores
    try:
        scores = json.loads(Path(file).read_text())
        facts = dict(
            labels_used=[scores['ground_truth_use']],
            used_sam=False,
            labels_of_weights=_without_paths(scores['labels_of_weights']),
            date=time.strftime('%Y-%m-%d'),
            versions=installed_versions(),
            machine=describe_machine(),
            settings=_plain({name: scores[name] for name in named}),
        )
        return [
            dict(method=PLAIN, seed=seed, metrics=metrics, **facts)
            for seed, metrics in enumerate(scores['seeds'])
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{file}: not a file of tools/plain_baseline.py --out ({error!r})'
        ) from error


def append_results(file: str | Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Add entries to a file of results; those of the same `KEY` are replaced.

    The file is whole at any time, and calls at the same time do not lose each other's entries.

    Args:
        file: A JSON list; made if there is none.
        entries: With all of `KEY`.

    Raises:
        ValueError: If the file is no JSON.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # until the descriptor is closed
        merged = merge_entries(read_results(file) if file.is_file() else [], entries)
        write_atomically(file, (json.dumps(merged, indent=1, ensure_ascii=False) + '\n').encode())
    finally:
        os.close(folder)


def read_results(file: str | Path) -> list[dict[str, Any]]:
    """The entries of a file of results.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON.
    """
    try:
        return json.loads(Path(file).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{file}: not JSON ({error})') from error


def describe_machine() -> dict[str, Any]:
    """Cores of this process, name of the CPU, and of the GPU or 'none'."""
    import torch

    text = CPU_INFO.read_text() if CPU_INFO.is_file() else ''
    name = re.search(r'^model name\s*: (.*)$', text, re.MULTILINE)
    return dict(
        cores=len(os.sched_getaffinity(0)),
        cpu=name[1] if name else 'not known',
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else 'none',
    )


def _check_identity(run: RunFolder, method: str, seed: int) -> None:
    """Refuse a run that is recorded as what it is not."""
    if run.settings.get('seed') != seed:
        raise ValueError(f'{run.path}: has seed {run.settings.get("seed")}, not {seed}')
    base = method.removesuffix(REFINED)
    expected = [base in (name, PDSO) for name in METHODS[2:5]]
    found = [bool(run.settings.get(part)) for part in PARTS]
    if base == PLAIN or found != expected:
        used = [part for part, is_used in zip(PARTS, found, strict=True) if is_used]
        raise ValueError(
            f'{run.path}: is not {method}, it was run with {", ".join(used) or "no part"} of PDSO'
        )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are a number, a word or a truth value, and the types of those with one.

    Of a path only its last name is kept; references to other settings are left out.
    """
    plain = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            value = value.get('type', value)
        if isinstance(value, (Mapping, list)) or '${' in str(value) or name == 'work_dir':
            continue
        plain[name] = _without_path(value) if isinstance(value, str) else value
    return plain


def _rounded(steps: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float | None]]:
    return {
        step: {name: value if value is None else round(value, 2) for name, value in row.items()}
        for step, row in steps.items()
    }


def _without_paths(texts: Sequence[str]) -> list[str]:
    return [_without_path(text) for text in texts]


def _without_path(text: str) -> str:
    """A text whose file begins at the root, with the file's last name alone."""
    return text.rpartition('/')[2] if text.startswith('/') else text


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
