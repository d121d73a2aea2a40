"""A whole run over a folder with bad and odd images."""

import json

import numpy as np
import pytest

from tests.bad_images import encoded, half, picture, without_code_tables, write
from tests.small_recipe import start_training
from tests.tiny_layout import write_image, write_label_map

BAD = {
    'cut.jpg': half(encoded(picture(size=(60, 60)), 'PNG')),
    'empty.jpg': b'',
    'undecodable.jpg': without_code_tables(encoded(picture(size=(60, 60)), 'JPEG')),
}
ODD = {
    'thin.png': encoded(picture(size=(3000, 1)), 'PNG'),
    'pixel.png': encoded(picture(size=(1, 1)), 'PNG'),
    'cmyk.jpg': encoded(picture('CMYK'), 'JPEG'),
}
OPTIONS = dict(
    stage_order='pretrain,attention,finetune',
    num_categories=2,
    batch_size=8,
    finetune_batch_size=8,
    pretrain_epochs=1,
    attention_epochs=1,
    finetune_epochs=1,
)


@pytest.fixture
def root(tmp_path):
    """Sixteen images, three bad and three odd ones, and two validation images."""
    root, rng = tmp_path / 'data', np.random.default_rng(0)
    for i in range(16):
        write_image(root / f'train/a/{i}.png', rng.integers(0, 256, (48, 48, 3)))
    for name, content in (BAD | ODD).items():
        write(root / 'train/a' / name, content)
    for category in 'ab':
        write_image(root / f'validation/{category}/0.png', rng.integers(0, 256, (48, 48, 3)))
        mask = root / f'validation-segmentation/{category}/0.png'
        write_label_map(mask, rng.integers(0, 3, (48, 48)))
    return root


def test_bad_images_stop_a_run_or_are_left_out(root, tmp_path):
    work_dir = tmp_path / 'run'
    run = start_training(work_dir, data_root=root, **OPTIONS)
    assert run.wait() == 1 and 'Traceback' not in run.output
    (line,) = [line for line in run.output.splitlines() if 'on_bad_image' in line]
    assert line.startswith(f'error: {root}/train/a/cut.jpg: truncated after ')
    assert ' bytes. Delete it or set' in line

    run = start_training(work_dir, data_root=root, on_bad_image='skip', **OPTIONS)
    assert run.wait() == 0, run.output[-3000:]
    assert 'bad images: 2, 1 found only when they were loaded, see ' in run.output
    listed = json.loads((work_dir / 'image_check/bad_images.json').read_text())
    assert {bad['image'].split('/')[-1] for bad in listed} == {'cut.jpg', 'empty.jpg'}
    features = np.load(work_dir / 'features/embeddings.npy')
    assert features.shape[0] == 20 and np.isfinite(features).all()
    made = {path.stem for path in (work_dir / 'pseudo_labels/a').glob('*.png')}
    assert {'thin', 'pixel', 'cmyk'} <= made and not {'cut', 'empty'} & made
