import pytest

from luss_mm.engine import foreign_config
from luss_mm.engine.convert_checkpoint import model_config
from luss_mm.engine.foreign_config import OWN_CONFIGS, warn_of_foreign_config
from luss_mm.engine.trained_segmentor import find_segmentor
from tests.engine.small_run import make_run


@pytest.fixture
def lines(monkeypatch):
    logged = []
    monkeypatch.setattr(foreign_config, 'print_log', lambda line, **_: logged.append(line))
    return logged


def test_configs_from_elsewhere_get_one_line(lines, tmp_path, monkeypatch):
    warn_of_foreign_config(tmp_path / 'own.py')
    (line,) = lines
    assert line.startswith(f'{tmp_path / "own.py"} is executed')
    monkeypatch.setenv('RANK', '1')
    warn_of_foreign_config(tmp_path / 'own.py')
    assert len(lines) == 1


def test_configs_of_the_package_get_none(lines, tmp_path, monkeypatch):
    assert (OWN_CONFIGS / 'luss/pass_tiny.py').is_file()
    warn_of_foreign_config(OWN_CONFIGS / 'luss' / 'pass_tiny.py')
    monkeypatch.chdir(OWN_CONFIGS.parent)
    warn_of_foreign_config('configs/luss/pass_tiny.py')
    (tmp_path / 'link.py').symlink_to(OWN_CONFIGS / 'luss' / 'pass_tiny.py')
    warn_of_foreign_config(tmp_path / 'link.py')
    assert not lines
    warn_of_foreign_config('configs/../../other.py')
    assert len(lines) == 1


def test_inference_and_conversion_say_it_for_a_named_config_alone(lines, tmp_path):
    run = make_run(tmp_path / 'run')
    find_segmentor(run)
    assert not lines  # read as data
    find_segmentor(run / 'finetune' / 'final.pth', run / 'finetune' / 'config.py')
    model_config(run / 'finetune' / 'config.py')
    assert len(lines) == 2
