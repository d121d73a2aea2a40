import pytest
import torch

from luss_mm.checkpoints.loading import load_checkpoint
from tests.published_networks import PublishedViT, mae_extras, randomise


@pytest.fixture
def source(tmp_path):
    state = randomise(PublishedViT()).state_dict() | mae_extras()
    torch.save(dict(model=state, epoch=1), tmp_path / 'mae.pth')
    return tmp_path / 'mae.pth'


def test_converts_there_and_back_and_says_what_is_left_out(call_tool, source, tmp_path, capsys):
    call_tool('convert_checkpoint', 'mae', source, tmp_path / 'ours.pth')
    printed = capsys.readouterr().out
    state = load_checkpoint(tmp_path / 'ours.pth')['state_dict']
    assert f'ours.pth: {len(state)} tensors' in printed
    assert "Weights taken from 'model', beside epoch." in printed
    assert f'Left out {len(mae_extras())} (' in printed and 'decoder_pred.bias' in printed
    back = tmp_path / 'theirs.pth'
    call_tool('convert_checkpoint', 'mae', tmp_path / 'ours.pth', back, '--backwards')
    assert f'theirs.pth: {len(state)} tensors' in capsys.readouterr().out
    back = load_checkpoint(back)['model']
    assert back.keys() == PublishedViT().state_dict().keys()
