"""A flat folder of photographs from the command line, and what can be done with the result."""

import json
import shutil

from tests.engine.small_folder_recipe import CHANNELS, SMALL_HEAD
from tests.killable_tools import run_tool
from tests.small_recipe import OPTIONS, TRAIN, finished_run


def test_a_flat_folder_is_trained_on_and_its_model_predicts_and_is_exported(tmp_path):
    photos, work_dir = tmp_path / 'photos', tmp_path / 'run'
    photos.mkdir()
    images = sorted((finished_run() / 'data/train').rglob('*.JPEG'))
    for number, image in enumerate(images):
        shutil.copy(image, photos / f'{number}.jpg')
    options = {k: v for k, v in OPTIONS.items() if not k.startswith('stages.data')}
    options |= SMALL_HEAD | dict(data_root=photos, feature_channels=CHANNELS, finetune_epochs=1)
    pairs = [f'{key}={value}'.replace(' ', '') for key, value in options.items()]
    arguments = 'configs/luss/pass_folder.py', '--work-dir', work_dir, '--cfg-options', *pairs
    output = run_tool(TRAIN, *arguments, log=tmp_path / 'train.log', quick=False)
    assert 'num_categories=5, a rule of thumb for 48 images' in output
    assert 'pretrain: only 6 steps' in output
    assert 'labels used: none' in output

    out = tmp_path / 'predictions'
    run_tool('tools/infer.py', work_dir, photos, '--out', out, log=tmp_path / 'infer.log')
    assert len(list(out.rglob('0.png'))) >= 1
    exported = tmp_path / 'model.ts'
    arguments = work_dir, '--out', exported
    run_tool('tools/export_segmentor.py', *arguments, log=tmp_path / 'export.log')
    assert exported.stat().st_size > 10_000
    strips = list((work_dir / 'pictures/strips').iterdir())
    assert len(strips) == 24 and work_dir / 'pictures/strips/000000_0.jpg' in strips
    assert 'these are training images' in (work_dir / 'report/index.html').read_text()
    manifest = json.loads((work_dir / 'finetune/manifest.json').read_text())
    assert manifest['used_ground_truth'] == []
