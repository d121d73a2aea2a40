import json

import numpy as np
import pytest
import torch

from tests.engine.small_run import make_run
from tests.inference.test_inferencer import smooth_image
from tests.tiny_layout import write_image


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / 'run')


@pytest.fixture
def images(tmp_path):
    for number, size in enumerate([(40, 50), (50, 40)]):
        write_image(tmp_path / 'images' / 'ä' / f'{number}.png', smooth_image(size, number))
    return tmp_path / 'images'


def test_infers_a_folder_and_says_what_was_bad(call_tool, run, images, tmp_path, capsys):
    (images / 'bad.jpg').write_bytes(b'no image')
    options = '--out', tmp_path / 'out', '--device', 'cpu', '--names', 'none'
    call_tool('infer', run, images, *options)
    printed = capsys.readouterr()
    assert 'bad.jpg: not a readable image' in printed.err and '1 images skipped' in printed.err
    assert (tmp_path / 'out' / 'labels' / 'ä' / '0.png').is_file()
    assert (tmp_path / 'out' / 'overlays' / 'ä' / '1.jpg').is_file()
    assert (tmp_path / 'out' / 'listing.csv').read_text().startswith('image,height,width,id')


def test_exports_and_describes(call_tool, run, tmp_path, capsys):
    call_tool(
        'export_segmentor',
        run,
        '--out',
        tmp_path / 'a.ts',
        '--output',
        'labels',
        '--sizes',
        '32x40',
        '64x32',
    )
    assert 'labels of 300 ids; largest difference to PyTorch' in capsys.readouterr().out
    notes = json.loads((tmp_path / 'a.ts.json').read_text())
    assert notes['sizes'] == [[32, 40], [64, 32]] and notes['channels'] == 'RGB'
    assert notes['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert [t['type'] for t in notes['transforms']] == [
        'LoadBoundedImage',
        'Resize',
        'PackSegInputs',
    ]
    assert notes['names']['0'] == 'others' and len(notes['names']) == 300
    labels = torch.jit.load(tmp_path / 'a.ts')(torch.zeros(1, 3, 48, 56))
    assert np.shape(labels) == (1, 48, 56)
    with pytest.raises(SystemExit, match="end in .onnx, .pt2, .ts, not '.pth'"):
        call_tool('export_segmentor', run, '--out', tmp_path / 'a.pth')
    with pytest.raises(SystemExit, match='2'):
        call_tool('export_segmentor', run, '--out', tmp_path / 'a.ts', '--sizes', '32')
