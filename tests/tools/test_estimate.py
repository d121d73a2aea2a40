import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.engine.small_folder_recipe import CHANNELS
from tests.small_recipe import OPTIONS

TOOL = Path(__file__).parents[2] / 'tools' / 'estimate.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('estimate_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(tool, monkeypatch, *options, **settings):
    small = {k: v for k, v in OPTIONS.items() if not k.startswith('stages.data')}
    pairs = [f'{k}={v}' for k, v in (small | dict(feature_channels=CHANNELS) | settings).items()]
    arguments = ['estimate.py', 'configs/luss/pass_folder.py', *options, '--cfg-options', *pairs]
    monkeypatch.setattr(sys, 'argv', arguments)
    tool.main()


def test_a_table_and_a_file(tool, monkeypatch, capsys, data_root, tmp_path):
    out = tmp_path / 'estimate.json'
    options = ['--json', str(out), '--work-dir', str(tmp_path / 'run'), '--measure']
    run(tool, monkeypatch, *options, data_root=data_root, num_categories=2)
    printed = capsys.readouterr().out
    written = json.loads(out.read_text())
    names = [part['name'] for part in written['costs']]
    assert names[0] == 'pretrain' and names[-1] == 'finetune' and len(names) == 6
    assert all(name in printed for name in names) and 'on made-up images' in printed
    assert written['seconds'] > 0 and written['does_not_fit'] == []
    assert not (tmp_path / 'run').exists()  # nothing is written there
