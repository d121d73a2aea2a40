import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from tests.tiny_layout import write_image, write_label_map

COLOURS = dict(others=(128, 128, 128), apple=(30, 30, 220), pear=(40, 210, 60))
CONFIG = """
model = dict(
    type='PASSPretrainer',
    in_index=0,
    data_preprocessor=dict(type='ViewsPreprocessor'),
    head=dict(type='PrototypeHead', in_channels=64, hidden_channels=8, embedding_channels=8,
              num_prototypes=5),
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
)
"""


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Coloured fruit on grey ground with masks, and the config and weights of a random network."""
    root = tmp_path_factory.mktemp('distance')
    rng = np.random.default_rng(0)
    for split, number in (('train-semi', 3), ('validation', 4)):
        for identity, fruit in enumerate(list(COLOURS)[1:], start=1):
            for i in range(number):
                labels = np.zeros((64, 64 + 32 * (i % 2)), int)
                top, left = rng.integers(0, 24, 2)
                labels[top : top + 32, left : left + 32] = identity
                image = np.array([COLOURS['others'], COLOURS[fruit]])[(labels > 0).astype(int)]
                image = image + rng.integers(-8, 9, image.shape)
                labels[-2:] = 1000
                place = f'{fruit}/{split}_{i}'
                write_image(root / 'data' / split / f'{place}.png', image)
                write_label_map(root / 'data' / f'{split}-segmentation' / f'{place}.png', labels)
    (root / 'pretrain').mkdir()
    (root / 'pretrain' / 'config.py').write_text(CONFIG)
    (root / 'recipe.py').write_text('stages = dict()')
    torch.save(dict(state_dict=random_weights()), root / 'pretrain' / 'final.pth')
    return root


def random_weights():
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(Config.fromstring(CONFIG, '.py').model).state_dict()


def run(call_tool, made, out, *options, model=('.',)):
    arguments = [*(made / path for path in model), '--data-root', made / 'data', '--out', out]
    arguments += ['--resize-side', 64, '--num-workers', 0, '--workers', 1, *options]
    call_tool('distance_matching', *arguments)


def error_of(*arguments, **options):
    with pytest.raises(SystemExit) as stop:
        run(*arguments, **options)
    return str(stop.value)


def test_from_a_work_directory_to_scores(call_tool, made, tmp_path, capsys):
    out = tmp_path / 'out'
    run(call_tool, made, out)
    report = json.loads((out / 'scores.json').read_text())
    assert report['protocol'] == 'distance' and report['num_categories'] == 2
    expected_use = 'train-semi masks: references; validation masks: scoring'
    assert report['ground_truth_use'] == expected_use
    assert expected_use in capsys.readouterr().out
    assert report['num_images'] == 8 and len(report['IoUs']) == 3
    assert report['mIoU'] > 60  # colours survive random convolutions
    arguments = [out / 'validation', made / 'data/validation-segmentation', '--categories', 2]
    arguments += ['--protocol', 'distance', '--out', tmp_path / 'other.json', '--workers', 1]
    call_tool('evaluate', *arguments)
    other = json.loads((tmp_path / 'other.json').read_text())
    assert {**other, 'ground_truth_use': ''} == {
        key: '' if key == 'ground_truth_use' else report[key] for key in other
    }

    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    run(call_tool, made, out, model=('pretrain/config.py', 'pretrain/final.pth'))
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.png')} == before


@pytest.mark.parametrize(
    'model, options, message',
    [
        (('.', 'nothing.pth'), (), 'nothing.pth: no such file'),
        (('data',), (), 'data/pretrain/config.py: no such file'),
        (('recipe.py', 'pretrain/final.pth'), (), 'no model.backbone: name the config of one'),
        (('.',), ('--split', 'nowhere'), 'nowhere: no such folder'),
        (('.',), ('--categories', '1'), 'ids up to 2, more than 1'),
        (('.',), ('--neighbours', '0'), 'positive, not 0'),
    ],
)
def test_mistakes_are_named(call_tool, made, tmp_path, model, options, message):
    assert message in error_of(call_tool, made, tmp_path, *options, model=model)
    assert not (tmp_path / 'scores.json').exists()
