import argparse

import pytest

from luss_mm.engine.command_line import OptionAction, device


@pytest.mark.parametrize(
    'text, value',
    [
        ('split=1_8', '1_8'),
        ('steps=[8,11]', [8, 11]),
        ('epochs=12', 12),
        ('rate=1e-3', 1e-3),
        ('evaluate=False', False),
        ('tags=None', None),
        ('scale=(0.5,2)', (0.5, 2)),
        ('name=a_b', 'a_b'),
        ("part={'type': 'A', 'sizes': (1, 2)}", dict(type='A', sizes=(1, 2))),
        ("parts=[{'type': 'A'}, {'type': 'B', 'c': [1]}]", [dict(type='A'), dict(type='B', c=[1])]),
        ('parts=[A,B]', ['A', 'B']),
    ],
)
def test_values(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    (found,) = parser.parse_args(['--cfg-options', text]).cfg_options.values()
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('data_root', "'data_root': options are KEY=VALUE"),
        ('=3', "'=3': options are KEY=VALUE"),
        ('steps=[8,11', 'steps: Imbalanced brackets'),
        ("part={'type'", "part: {'type' is no dict or list of dicts as Python writes it"),
    ],
)
def test_options_that_are_none(text, message, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args(['--cfg-options', text])
    assert message in capsys.readouterr().err


def test_devices():
    assert device('cpu') == 'cpu'
    with pytest.raises(argparse.ArgumentTypeError, match="'cuad' is none, as cpu"):
        device('cuad')
    with pytest.raises(argparse.ArgumentTypeError, match='cuda:99: there are .* GPUs here'):
        device('cuda:99')
