import importlib.util
from pathlib import Path

import pytest
import torch

from luss_mm.checkpoints.loading import load_checkpoint
from tests.published_networks import PublishedViT, mae_extras, randomise

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_checkpoint.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('convert_checkpoint', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path):
    state = randomise(PublishedViT()).state_dict() | mae_extras()
    torch.save(dict(model=state, epoch=1), tmp_path / 'mae.pth')
    return tmp_path / 'mae.pth'


def run(tool, *arguments):
    tool.main([str(argument) for argument in arguments])


def test_converts_there_and_back_and_says_what_is_left_out(tool, source, tmp_path, capsys):
    run(tool, 'mae', source, tmp_path / 'ours.pth')
    printed = capsys.readouterr().out
    state = load_checkpoint(tmp_path / 'ours.pth')['state_dict']
    assert f'ours.pth: {len(state)} tensors' in printed
    assert "Weights taken from 'model', beside epoch." in printed
    assert f'Left out {len(mae_extras())} (' in printed and 'decoder_pred.bias' in printed
    run(tool, 'mae', tmp_path / 'ours.pth', tmp_path / 'theirs.pth', '--backwards')
    assert f'theirs.pth: {len(state)} tensors' in capsys.readouterr().out
    back = load_checkpoint(tmp_path / 'theirs.pth')['model']
    assert back.keys() == PublishedViT().state_dict().keys()


def test_mistakes_end_with_one_line_and_nothing_written(tool, source, tmp_path):
    target = tmp_path / 'ours.pth'
    for arguments, message in (
        (('sere', source, target), 'mae.pth: not a checkpoint of SERE'),
        (('mae', source, source), 'mae.pth: exists already'),
        (('mae', tmp_path / 'gone.pth', target), 'gone.pth: no such checkpoint'),
        (('mae', source, target, '--weights-key', 'ema'), "has no 'ema', only model, epoch"),
        (('pass-pretrained', source, target, '--backwards'), 'there is no way back'),
    ):
        with pytest.raises(SystemExit) as stop:
            run(tool, *arguments)
        assert message in str(stop.value)
    assert not target.exists()


@pytest.mark.parametrize(
    'options', [['--backwards', '--config', 'a.py'], ['--stage', 'pretrain'], ['--unknown']]
)
def test_options_that_do_not_go_together(tool, options):
    with pytest.raises(SystemExit, match='2'):
        run(tool, 'mae', 'a.pth', 'b.pth', *options)
