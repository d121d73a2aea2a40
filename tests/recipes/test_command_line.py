import argparse
import os

import pytest

from luss_mm.recipes.setting_types import OptionAction, device


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
        ("parts=[dict(type='A', c=(1, 2)), dict()]", [dict(type='A', c=(1, 2)), {}]),
        ('parts=[A,B]', ['A', 'B']),
        ('use_dff=no', False),
        ('evaluate=off', False),
        ('amp=yes', True),
        ('amp=bfloat16', 'bfloat16'),
        ('cache_maps=1', True),
        ('use_csd=${use_dff}', '${use_dff}'),
        ('data_root=my photos', 'my photos'),
        ('data_root=~/photos', os.path.expanduser('~/photos')),
        ('data_root=a,b (1)[2]', 'a,b (1)[2]'),
        ('data_root=2024', '2024'),
        ("data_root='x'", "'x'"),
        ('data_root=None', 'None'),
        ('checkpoint=None', None),
        ('train_split=', ''),
        ('segmenter.checkpoint=my sam/b.pth', 'my sam/b.pth'),
        ('stages.finetune.load_from=a b.pth', 'a b.pth'),
        ('split=92', '92'),
        ('crop_size=(48,48)', 48),
        ('crop_size=[48, 48]', 48),
        ('crop_size=48', 48),
        ('finetune_lr=1e-3', 1e-3),
        ('sigma=4', 4),
        ('foreground_threshold=otsu', 'otsu'),
        ('foreground_threshold=0.4', 0.4),
        ('num_categories=None', None),
        ('num_categories=${k + 1}', '${k + 1}'),
        ('finetune_scale=(0.3,1.0)', (0.3, 1.0)),
        ('map_outputs=[1,2]', [1, 2]),
        ('pretrain_splits=[train,1_8,my photos]', ['train', '1_8', 'my photos']),
        ('pretrain_splits=["a,b","c"]', ['a,b', 'c']),
        ('pretrain_splits=train', ['train']),
        ('stage_order=pretrain,finetune', ['pretrain', 'finetune']),
        ('stages.finetune.train_cfg.max_epochs=3', 3),
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
        ('part=[dict(1)]', 'part: [dict(1)] is no dict or list of dicts as Python writes it'),
        ('part=f(a=1,b=2)', "part: 'f(a=1,b=2)' cannot be read"),
        ('batch_size=8,', "batch_size must be a whole number >= 1, not '8,'"),
        ('batch_size=1_6', "batch_size must be a whole number >= 1, not '1_6'"),
        ('use_dff=maybe', "use_dff must be True or False, not 'maybe'"),
        ('use_dff=None', "use_dff must be True or False, not 'None'"),
        ('amp=float8', "amp must be 'float16' or 'bfloat16' or True or False, not 'float8'"),
        ('crop_size=(48,64)', 'crop_size must be a whole number >= 1 for height and width, not'),
        ('sigma=inf', 'sigma must be a finite number >= 0, not inf'),
        ('csd_rule=margn', "csd_rule must be 'margin' or 'ratio' or 'distance', not 'margn'"),
        ('map_outputs=[1,a]', 'map_outputs must be a list of entries, each a whole number, not'),
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
