import os
import shutil

import pytest
import torch
from mmengine.config import Config

from luss_mm.checkpoints.loading import CheckpointError
from luss_mm.inference.trained_segmentor import find_segmentor
from luss_mm.recipes.config_file import ConfigError
from tests.checkpoints.test_loading import Payload
from tests.engine.small_run import PIPELINE, make_run, run_config

RECIPES = ('configs/luss/pass_tiny.py', 'configs/luss/pdso_tiny.py')


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / 'run')


def same_weights(model, path):
    state = torch.load(path, weights_only=True)['state_dict']
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_found_in_every_way(run, tmp_path):
    final = run / 'finetune' / 'final.pth'
    alone = shutil.copy(final, tmp_path / 'alone.pth')  # the config is in it
    (tmp_path / 'c.py').write_text((run / 'finetune' / 'config.py').read_text())
    for arguments in ((run,), (run / 'finetune',), (final,), (alone,), (alone, tmp_path / 'c.py')):
        source = find_segmentor(*arguments)
        assert source.config.model == run_config().model
        model = source.build()
        assert same_weights(model, final) and not model.training
        assert source.test_pipeline == PIPELINE


def test_what_is_missing_is_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match='gone: no such run directory or checkpoint'):
        find_segmentor(tmp_path / 'gone')
    (run / 'finetune').rename(run / 'second')
    with pytest.raises(FileNotFoundError, match="no finished stage 'finetune'.*here: second"):
        find_segmentor(run)
    torch.save(dict(state_dict={}), tmp_path / 'bare.pth')
    with pytest.raises(CheckpointError, match='no config in or beside it'):
        find_segmentor(tmp_path / 'bare.pth')
    config = Config(dict(model=run_config().model))
    with pytest.raises(ConfigError, match='no test_pipeline'):
        _ = find_segmentor(run / 'second', config).test_pipeline


@pytest.mark.parametrize('recipe', RECIPES)
def test_a_recipe_is_not_a_model(run, recipe):
    with pytest.raises(ConfigError, match='not the config of one model'):
        find_segmentor(run / 'finetune' / 'final.pth', recipe)


@pytest.mark.parametrize(
    'line',
    [
        "import os\nos.system('touch {marker}')",
        "a = __import__('os').system('touch {marker}')",
        "a = dict(b=[open('{marker}', 'w')])",
        "a = dict(**{{'b': 1}})",
        "a = [c for c in '{marker}']",
        "model = dict(type='os.system', command='touch {marker}')",
        "model = dict(backbone=dict(type='mmengine.load', file='{marker}'))",
        "model = dict(heads=[dict(type='subprocess.Popen')])",
        "test_pipeline = [dict(type='pathlib.Path')]",
        "custom_imports = dict(imports=['antigravity'])",
        'a.b = 1',
        "a = {{**{{'b': 1}}}}",
        'a = {{[]: 1}}',
        'a = (',
        'a = ' + 500 * '(' + '1' + 500 * ')',
        'a = \0',
    ],
)
def test_configs_of_others_execute_nothing(run, tmp_path, line):
    config = run / 'finetune' / 'config.py'
    config.write_text(config.read_text() + line.format(marker=tmp_path / 'executed') + '\n')
    with pytest.raises(ConfigError, match='config.py'):
        find_segmentor(run)
    assert not (tmp_path / 'executed').exists()


def test_a_config_within_a_checkpoint_executes_nothing(tmp_path):
    text = f"import os\nos.system('touch {tmp_path / 'executed'}')"
    torch.save(dict(state_dict={}, meta=dict(cfg=text)), tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match='config in .*a.pth, line 1: not an assignment'):
        find_segmentor(tmp_path / 'a.pth')
    assert not (tmp_path / 'executed').exists()


def test_a_named_config_is_executed(run, tmp_path):
    config = tmp_path / 'own.py'
    text = (run / 'finetune' / 'config.py').read_text()
    config.write_text(f"{text}\nimport os\nopen('{tmp_path / 'executed'}', 'w').close()\n")
    find_segmentor(run, config)
    assert (tmp_path / 'executed').exists()


def test_malicious_weights_are_refused(run, tmp_path):
    content = dict(state_dict=dict(a=Payload(tmp_path / 'executed')))
    torch.save(content, run / 'finetune' / 'final.pth')
    with pytest.raises(CheckpointError, match='refused'):
        find_segmentor(run).build()
    assert not (tmp_path / 'executed').exists() and os.path.exists(run)
