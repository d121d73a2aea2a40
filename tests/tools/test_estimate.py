import json

from tests.engine.small_folder_recipe import CHANNELS
from tests.small_recipe import OPTIONS


def test_a_table_and_a_file(call_tool, capsys, data_root, tmp_path):
    out = tmp_path / 'estimate.json'
    small = {k: v for k, v in OPTIONS.items() if not k.startswith('stages.data')}
    small |= dict(feature_channels=CHANNELS, data_root=data_root, num_categories=2)
    options = ['--json', out, '--work-dir', tmp_path / 'run']
    pairs = [f'{name}={value}' for name, value in small.items()]
    call_tool('estimate', 'configs/luss/pass_folder.py', *options, '--cfg-options', *pairs)
    printed = capsys.readouterr().out
    written = json.loads(out.read_text())
    names = [part['name'] for part in written['costs']]
    assert names[0] == 'pretrain' and names[-1] == 'finetune' and len(names) == 6
    assert all(name in printed for name in names) and 'on made-up images' in printed
    assert written['seconds'] > 0 and written['does_not_fit'] == []
    assert not (tmp_path / 'run').exists()  # nothing is written there
