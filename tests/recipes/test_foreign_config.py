import os
from types import SimpleNamespace

import pytest

from luss_mm.recipes import config_file
from luss_mm.recipes.config_file import OWN_CONFIGS, warn_of_foreign_config


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
