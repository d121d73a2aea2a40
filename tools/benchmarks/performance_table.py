"""The table of docs/performance.md: what `run.py` measured, on which machine."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luss_mm.work_dir.atomic_files import write_atomically

import torch

BEGIN, END = '<!-- benchmarks: begin -->', '<!-- benchmarks: end -->'
HEADER = '| step | command | ours | alternative | ratio | goal |\n|---|---|---|---|---|---|'
FLAGS = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16')


def current_machine() -> dict[str, Any]:
    """What decides speed here: processor, GPU, torch."""
    information = Path('/proc/cpuinfo')
    text = information.read_text() if information.exists() else ''
    name = re.search(r'^model name\s*: (.*)$', text, re.MULTILINE)
    flags = re.search(r'^flags\s*: (.*)$', text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    return dict(
        processor=name[1].strip() if name else 'unknown processor',
        flags=[flag for flag in FLAGS if flag in known],
        cores=os.cpu_count(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU',
        torch=torch.__version__,
    )


def make_table(summary: Mapping[str, Any], goals: Mapping[str, Mapping[str, float | str]]) -> str:
    """Markdown of a run.

    Args:
        summary: `machine`, and `benchmarks`: name to entry, see `run.run`.
        goals: Benchmark, in the order of the table, to start of a comparison's name to its goal.

    Returns:
        A line about the machine and a table, a row a comparison.
    """
    machine, entries = summary['machine'], summary['benchmarks']
    dates = sorted({entry['date'] for entry in entries.values() if 'date' in entry})
    flags = f' ({", ".join(machine["flags"])})' if machine['flags'] else ''
    lines = [
        f'Machine: {machine["cores"]} CPU cores ({machine["processor"]}){flags}, {machine["gpu"]}, '
        f'torch {machine["torch"]}, {" to ".join(dict.fromkeys(dates[:1] + dates[-1:]))}.',
        '',
        HEADER,
    ]
    for name in filter(entries.__contains__, goals):
        lines += rows(name, entries[name], goals[name])
    return '\n'.join(lines) + '\n'


def rows(name: str, entry: Mapping[str, Any], goals: Mapping[str, float | str]) -> list[str]:
    """The table's rows of one benchmark."""
    if entry['status'] != 'finished':
        return [f'| {name} | `{name}.py` | {entry["status"]} | | | |']
    shown = f'`{short_command(entry["command"])}`' + (', quick' if entry.get('quick') else '')
    if not entry['comparisons']:
        return [f'| {name} | {shown} | figures in {name}.json | | | |']
    return [
        f'| {step} | {shown} | {figure(found["ours"], found["unit"])} | {alternative(found)} | '
        f'{number(found["ratio"])} | {judged(step, found["ratio"], goals)} |'
        for step, found in entry['comparisons'].items()
    ]


def short_command(command: str) -> str:
    """Without folders and without where the result goes."""
    _, script, *words = shlex.split(command)
    shown = ['F' if Path(w).is_absolute() and w.endswith('.json') else w for w in words]
    shown = ['DIR' if Path(word).is_absolute() else word for word in shown]
    return ' '.join([Path(script).name, *shown])


def alternative(found: Mapping[str, Any]) -> str:
    """Cell of the alternative."""
    if found['alternative'] is None:
        return '-'
    return f'{figure(found["alternative"], found["unit"])} ({found["against"]})'


def judged(step: str, ratio: float | None, goals: Mapping[str, float | str]) -> str:
    """Cell of the goal, and whether it is missed. The longest start of the step's name counts."""
    fitting = [start for start in goals if step.startswith(start)]
    if not fitting:
        return '-'
    goal = goals[max(fitting, key=len)]
    if isinstance(goal, str) or ratio is None:
        return str(goal)
    return number(goal) + ('' if ratio >= goal else ', missed')


def figure(value: float, unit: str) -> str:
    """A value with its unit."""
    return f'{number(value)} {unit}'


def number(value: float | None) -> str:
    """As short as it can be."""
    return '-' if value is None else f'{value:,g}' if abs(value) < 1000 else f'{value:,.0f}'


def replace_table(page: Path, table: str) -> None:
    """Put a table between the two comments of a page that mark its place.

    Raises:
        ValueError: If the page does not have both, once and in this order.
    """
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f'{page}: put {BEGIN} and {END} where the table belongs, once each')
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    write_atomically(page, f'{before}{BEGIN}\n{table}{END}{after}'.encode())
