import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'tools' / 'benchmarks'


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    return gpu


def test_every_section_runs_at_a_tiny_size(tmp_path):
    command = [sys.executable, BENCHMARKS / 'gpu.py', '--minutes', '10', '--quick']
    subprocess.run([*command, '--out', tmp_path], check=True)
    sections = json.loads((tmp_path / 'gpu.json').read_text())['sections']
    assert {entry['status'] for entry in sections.values()} == {'finished'}
    steps = [step for entry in sections.values() for step in entry['result']]
    table = (tmp_path / 'gpu.md').read_text()
    assert len(steps) > 15 and all(f'| {step} |' in table for step in steps)


def test_a_section_that_fails_or_takes_too_long_says_so(gpu):
    failed = gpu.measured(lambda: 1 / 0, limit=60)
    assert failed['status'] == 'failed: ZeroDivisionError: division by zero'
    stopped = gpu.measured(lambda: time.sleep(600), limit=gpu.LEAST_SECONDS)
    assert stopped['status'] == 'stopped after 5 s' and stopped['result'] is None
    assert gpu.measured(lambda: 1, limit=1)['status'] == 'no time was left'
