"""OpenMP's threads wait passively: the variable that says so is set before torch reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import slow_but

REPOSITORY = Path(__file__).parent.parent
TOOLS = sorted(REPOSITORY.glob('tools/*.py')) + sorted(REPOSITORY.glob('tools/benchmarks/*.py'))
# Stops at the first import of torch, so that a tool costs a fraction of a second.
WATCH = """
import os, sys
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == 'torch':
            print(os.environ.get('OMP_WAIT_POLICY'), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
"""


def policy_at_torch(command, *arguments, **variables):
    """What OMP_WAIT_POLICY is when torch is first imported: '' where nothing imports it."""
    environment = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'} | variables
    environment['PYTHONPATH'] = str(REPOSITORY)
    done = subprocess.run(
        [sys.executable, '-c', WATCH + command, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize('tool', slow_but([REPOSITORY / 'tools/train.py'], TOOLS))
def test_tools_set_it_before_torch_is_imported(tool):
    command = 'import runpy; sys.path[0] = sys.argv[2]; runpy.run_path(sys.argv[1])'
    assert policy_at_torch(command, str(tool), str(tool.parent)) in ('passive', '')


@pytest.mark.parametrize('policy', ['active', 'passive', ''])
def test_the_users_value_stays(policy):
    assert policy_at_torch('import luss_mm, torch', OMP_WAIT_POLICY=policy) == policy
