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
