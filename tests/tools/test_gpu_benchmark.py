import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / 'tools' / 'benchmarks'


def test_every_section_runs_at_a_tiny_size(tmp_path):
    command = [sys.executable, BENCHMARKS / 'gpu.py', '--minutes', '10', '--quick']
    subprocess.run([*command, '--out', tmp_path], check=True)
    sections = json.loads((tmp_path / 'gpu.json').read_text())['sections']
    assert {entry['status'] for entry in sections.values()} == {'finished'}
    steps = [step for entry in sections.values() for step in entry['result']]
    table = (tmp_path / 'gpu.md').read_text()
    assert len(steps) > 15 and all(f'| {step} |' in table for step in steps)
