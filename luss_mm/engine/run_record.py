"""What is recorded of a finished run, or of a plain baseline, in a file of results."""

import fcntl
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from luss_mm.evaluation.result_tables import METHODS, PDSO, PLAIN, REFINED, merge_entries
from luss_mm.inference.frozen_backbone import labels_of_weights
from luss_mm.pipeline.image_counts import judge_run
from luss_mm.work_dir.artifact import installed_versions
from luss_mm.work_dir.atomic_files import write_atomically
from luss_mm.work_dir.run_folder import RunFolder, read_json

PARTS = ('use_dff', 'use_csd', 'use_spo')
CPU_INFO = Path('/proc/cpuinfo')


def record_run(work_dir: str | Path, method: str, seed: int) -> dict[str, Any]:
    """What a finished run says of itself.

    Args:
        work_dir: Of the run, on the machine that it ran on.
        method: A row of the tables, see `METHODS`.
        seed: Of the run.

    Returns:
        JSON-like, without the paths of this machine.

    Raises:
        FileNotFoundError: If the run is not finished, or was not scored.
        ValueError: If it has another seed, or other parts of PDSO than the method.
    """
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
