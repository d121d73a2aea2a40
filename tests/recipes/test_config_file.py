"""A config that cannot be used ends in one line with the file and the reason."""

import re
import sys

import pytest
from mmengine.config import Config

from luss_mm.engine.expected_errors import explain_stop
from luss_mm.recipes.config_file import ConfigError, read_config, read_own_config, refuse_incomplete
from luss_mm.recipes.settings import SettingsError
from tests.permissions import closed

GOOD = "model = dict(type='A', depth=1)\nrate = 3\nviews = [dict(size=1)]\nhead = '${model}'\n"
WRONG = {  # content of a file, and what is said of it
    'a.txt': ('a = 1', r'a.txt: not a config. Name a file that ends in .py'),
    'prose.py': ('no config here\n', r'prose.py, line 1: not a config \(SyntaxError: invalid'),
    'cut.py': ('a = 1\nb = dict(\n', r'cut.py, line 2: not a config \(SyntaxError: .*never closed'),
    'name.py': ('a = 1\nb = c\n', r"name.py, line 2: not a config \(NameError: name 'c'"),
    'bytes.py': (b'\xff\xfe\0', r'bytes.py: not a config \(UnicodeDecodeError'),
    'cut.json': ('{"a": ', r'cut.json: not a config \(JSONDecodeError'),
    'base.py': ("_base_ = 'godo.py'\n", r'base.py: its _base_ .*godo.py is not .* mean .*good.py'),
    'deep.py': ("_base_ = 'name.py'\n", r'name.py, line 2: not a config'),
    'import.py': (
        "custom_imports = dict(imports=['no_such_module'])\n",
        r"import.py: custom_imports: No module named 'no_such_module'",
    ),
    'open.py': ("a = open('gone.txt')\n", r'open.py, line 1: not a config \(FileNotFoundError'),
}


@pytest.fixture
def folder(tmp_path):
    for name, (content, _) in WRONG.items():
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(content)
    (tmp_path / 'good.py').write_text(GOOD)
    return tmp_path


@pytest.mark.parametrize('name', WRONG)
def test_files_that_are_no_configs(folder, name):
    with pytest.raises(ConfigError) as error:
        read_config(folder / name)
    line = explain_stop(error.value)
    assert re.search(WRONG[name][1], line) and '\n' not in line
    assert line.startswith(f'{folder}/')


def test_paths_that_are_wrong(folder):
    for path, message in (
        (folder / 'goood.py', f'Did you mean {folder}/good.py?'),
        (folder, 'Is a directory. Name a file.'),
        (folder / 'good.py' / 'x.py', 'A folder on its way is a file'),
    ):
        with pytest.raises(OSError) as error:
            read_config(path)
        assert message in explain_stop(error.value)


def test_a_config_that_may_not_be_read(folder):
    with closed(folder / 'good.py'), pytest.raises(PermissionError) as error:
        read_config(folder / 'good.py')
    assert explain_stop(error.value).startswith(f'{folder}/good.py: Permission denied. Change its')


def test_a_fault_in_an_imported_module_keeps_its_traceback(folder, monkeypatch):
    (folder / 'broken_module_of_a_user.py').write_text('1 / 0\n')
    (folder / 'uses.py').write_text("custom_imports = dict(imports=['broken_module_of_a_user'])\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ZeroDivisionError) as error:
        read_config(folder / 'uses.py')
    assert explain_stop(error.value) is None
    assert 'broken_module_of_a_user' not in sys.modules


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'modl.depth': 3}, "modl.depth: the config has no 'modl'; did you mean 'model'"),
        ({'train_cfg.max_epoch': 3}, None),  # a key of mmengine that the config does not set
        ({'rate.a': 3}, 'rate.a: does not fit the config (rate='),
        ({'views.1.size': 3}, 'views.1.size: does not fit the config ("Index 1 exceeds'),
        ({'model.depth': 3, 'rate.a': 3}, '--cfg-options rate.a: does not fit'),
        ({'head.depth': 3}, 'does not fit the config (head is ${model}: set model.depth instead)'),
        ({'model.depth': 3, 'rate': 4}, None),
    ],
)
def test_options(folder, options, message):
    if message is None:
        config = read_config(folder / 'good.py', options)
        assert config.model.depth in (1, 3) and len(config.views) == 1
        return
    with pytest.raises(SettingsError) as error:
        read_config(folder / 'good.py', options)
    assert message in str(error.value) and '\n' not in str(error.value)


def test_incomplete_configs(folder):
    config = read_config(folder / 'good.py')
    refuse_incomplete(config, 'good.py', ['model', 'rate'])
    with pytest.raises(ConfigError, match='good.py: sets no train_dataloader. Name a recipe'):
        refuse_incomplete(config, 'good.py', ['model', 'train_dataloader'])


def test_bases_by_the_name_of_the_package(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'luss_mm::luss/pass_tiny.py'\nseed = 7\n")
    ours = read_own_config(tmp_path / 'mine.py')
    expected = Config.fromfile('configs/luss/pass_tiny.py').to_dict() | dict(seed=7)
    assert ours.to_dict() == expected  # without a scope of ours, which no registry has
    # mmseg's own script, which imports none of ours before it reads bases, takes the path.
    path = "str(__import__('luss_mm').find_recipe('pass_tiny'))"
    (tmp_path / 'plain.py').write_text(f'_base_ = {path}\nseed = 7\n')
    assert Config.fromfile(tmp_path / 'plain.py').to_dict() == expected
    (tmp_path / 'theirs.py').write_text("_base_ = 'mmseg::_base_/models/fcn_hr18.py'\n")
    assert read_own_config(tmp_path / 'theirs.py').model.backbone.type == 'HRNet'
