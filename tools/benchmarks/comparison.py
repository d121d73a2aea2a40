"""What every benchmark writes under `comparisons`, and the rows that it prints of them.

    {"comparisons": {"k-means, K = 50": {"ours": 1.13, "unit": "s",
                                         "alternative": 1.71, "against": "scikit-learn",
                                         "ratio": 1.51}}}

The ratio is how many times better ours is, so above 1 is faster or smaller. Without an alternative,
`alternative`, `against` and `ratio` are null.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luss_mm.engine.run_records import describe_machine
from luss_mm.work_dir.atomic_files import write_json

import torch

HEADER = '| step | ours | alternative | ratio |\n|---|---|---|---|'


def rate(
    ours: float, alternative: float | None, unit: str, against: str | None = None
) -> dict[str, float | str | None]:
    """A comparison where more is better.

    Args:
        ours: Our figure.
        alternative: That of the alternative, or None.
        unit: Unit of both.
        against: What the alternative is.
    """
    ratio = ours / alternative if alternative else None
    figures = dict(ours=ours, alternative=alternative, ratio=ratio)
    rounded = {name: value and _three_digits(value) for name, value in figures.items()}
    return dict(**rounded, unit=unit, against=against)


def cost(
    ours: float, alternative: float | None, unit: str, against: str | None = None
) -> dict[str, float | str | None]:
    """A comparison where less is better; see `rate`."""
    ratio = alternative / ours if alternative and ours else None
    return rate(ours, alternative, unit, against) | dict(ratio=ratio and _three_digits(ratio))


def write_report(out: Path, report: Mapping[str, Any]) -> None:
    """Write all figures with machine and load as JSON, and print the rows of the comparisons."""
    machine = describe_machine() | dict(torch=torch.__version__)
    content = dict(report, machine=machine, load_average=os.getloadavg())
    write_json(out, content, indent=1)
    print('\n'.join([HEADER, *rows(report['comparisons'])]))


def rows(comparisons: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Rows of a table in Markdown, one a comparison."""
    lines = []
    for step, found in comparisons.items():
        unit, other = found['unit'], '-'
        if found['alternative'] is not None:
            other = f'{_shown(found["alternative"])} {unit} ({found["against"]})'
        ratio = '-' if found['ratio'] is None else _shown(found['ratio'])
        lines.append(f'| {step} | {_shown(found["ours"])} {unit} | {other} | {ratio} |')
    return lines


def _three_digits(value: float) -> float:
    """Rounded; what is above 1,000 loses its fraction only."""
    return float(f'{value:.3g}') if abs(value) < 1000 else float(round(value))


def _shown(value: float) -> str:
    return f'{value:,g}' if abs(value) < 1000 else f'{value:,.0f}'
