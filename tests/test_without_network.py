"""Nothing is fetched that was not asked for: the tools in processes without network."""

import pytest

from tests.engine.small_run import make_run
from tests.killable_tools import run_tool, start_tool
from tests.small_recipe import train_arguments
from tests.tiny_layout import write_image
from tests.visualization.made_up_run import make_run as make_finished_run

WITHOUT_NETWORK = 'tests/without_network.py'
ATTEMPTS = {
    'connection': "import socket; socket.create_connection(('127.0.0.1', 9))",
    'address': "import urllib.request; urllib.request.urlopen('http://example.invalid/')",
    'download': "import torch; torch.hub.load_state_dict_from_url('http://127.0.0.1:9/a.pth')",
}


@pytest.mark.parametrize('attempt', ATTEMPTS)
def test_the_network_is_really_gone(tmp_path, attempt):
    (tmp_path / 'script.py').write_text(ATTEMPTS[attempt])
    run = start_tool(WITHOUT_NETWORK, tmp_path / 'script.py', log=tmp_path / 'log')
    assert run.wait() != 0 and 'no network: socket.' in run.output


def test_a_recipe_renders_and_trains(tmp_path):
    changed = dict(stage_order='data,pretrain', pretrain_epochs=1, stages__data__task__num_train=16)
    arguments = train_arguments(tmp_path / 'run', **changed)
    run_tool(WITHOUT_NETWORK, 'tools/train.py', *arguments, log=tmp_path / 'log')
    assert (tmp_path / 'run' / 'pretrain' / 'final.pth').is_file()


def test_inference(tmp_path):
    run = make_run(tmp_path / 'run')
    write_image(tmp_path / 'images' / 'a.png', [[[0, 128, 255]] * 40] * 30)
    arguments = [run, tmp_path / 'images', '--out', tmp_path / 'out']
    run_tool(WITHOUT_NETWORK, 'tools/infer.py', *arguments, log=tmp_path / 'log')
    assert (tmp_path / 'out' / 'labels' / 'a.png').is_file()


def test_the_report(tmp_path):
    run = make_finished_run(tmp_path)
    run_tool(WITHOUT_NETWORK, 'tools/report.py', run, log=tmp_path / 'log')
    assert (run / 'report' / 'index.html').is_file()
