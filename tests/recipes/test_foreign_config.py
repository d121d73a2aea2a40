import os
from types import SimpleNamespace

import pytest

from luss_mm.checkpoints.conversion import model_config
from luss_mm.inference.trained_segmentor import find_segmentor
from luss_mm.recipes import config_file
from luss_mm.recipes.config_file import OWN_CONFIGS, warn_of_foreign_config
from tests.engine.small_run import make_run


@pytest.fixture
def lines(monkeypatch):
    logged = []
    monkeypatch.setattr(config_file, 'print_log', lambda line, **_: logged.append(line))
    return logged


@pytest.fixture
def stranger(monkeypatch):
    """This process runs as another account, in a folder of that account."""
    monkeypatch.setattr(config_file.os, 'geteuid', lambda: os.getuid() + 1)
    monkeypatch.setattr(config_file.Path, 'cwd', lambda: SimpleNamespace(stat=other_owner))


def other_owner():
    return SimpleNamespace(st_uid=os.getuid() + 1)


def write(path):
    path.write_text('a = 1')
    return path


def test_a_config_of_another_account_gets_one_line(lines, stranger, tmp_path, monkeypatch):
    config = write(tmp_path / 'other.py')
    warn_of_foreign_config(config)
    (line,) = lines
    assert line.startswith(f'{config} is executed') and 'another account' in line
    monkeypatch.setenv('RANK', '1')
    warn_of_foreign_config(config)
    assert len(lines) == 1


def test_ones_own_config_gets_none(lines, tmp_path, monkeypatch):
    warn_of_foreign_config(write(tmp_path / 'own.py'))
    monkeypatch.chdir(tmp_path)  # a folder of this account, though the process runs as another
    monkeypatch.setattr(config_file.os, 'geteuid', lambda: os.getuid() + 1)
    warn_of_foreign_config('own.py')
    assert not lines


def test_configs_of_the_package_get_none(lines, stranger, tmp_path, monkeypatch):
    checkout, wheel = OWN_CONFIGS
    recipe = checkout / 'luss' / 'pass_tiny.py'
    assert recipe.is_file() and (wheel / 'luss' / 'pass_tiny.py').samefile(recipe)
    for path in (recipe, wheel / 'luss' / 'pass_tiny.py'):
        warn_of_foreign_config(path)
    (tmp_path / 'link.py').symlink_to(recipe)
    warn_of_foreign_config(tmp_path / 'link.py')
    # Of an installed package, whose `.mim` holds copies.
    installed = tmp_path / 'luss_mm' / '.mim' / 'configs'
    installed.mkdir(parents=True)
    monkeypatch.setattr(config_file, 'OWN_CONFIGS', (checkout, installed))
    warn_of_foreign_config(write(installed / 'pass_tiny.py'))
    assert not lines
    warn_of_foreign_config(write(tmp_path / 'luss_mm' / 'other.py'))
    assert len(lines) == 1


def test_inference_and_conversion_say_it_for_a_named_config_alone(lines, stranger, tmp_path):
    run = make_run(tmp_path / 'run')
    find_segmentor(run)
    assert not lines  # read as data
    find_segmentor(run / 'finetune' / 'final.pth', run / 'finetune' / 'config.py')
    model_config(run / 'finetune' / 'config.py')
    assert len(lines) == 2
