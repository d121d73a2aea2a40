"""The recipes for photographs from end to end: packaged weights, a flat folder, a few steps."""

import json

import pytest
from mmengine.config import Config

from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.pipeline.rendered_images import RenderTinyShapes
from luss_mm.work_dir.manifest import read_manifest
from tests.test_backbones import nothing_beside as nothing_beside
from tests.test_configs import CONFIGS

SMALL = dict(
    num_categories=3,
    resize_side=64,
    crop_size=64,
    finetune_epochs=1,
    num_workers=0,
    kmeans_restarts=2,
)


def run(recipe, photographs, work_dir):
    config = Config.fromfile(CONFIGS / 'luss' / f'{recipe}.py')
    config.merge_from_dict(
        SMALL | dict(data_root=str(photographs), work_dir=str(work_dir), finetune_batch_size=4)
    )
    config.launcher = 'none'
    runner = StagedRunner(config)
    runner.train()
    return runner.closing_lines()


@pytest.mark.parametrize(
    'recipe, segmented',
    [pytest.param('pass_photos', False, marks=pytest.mark.slow), ('pdso_photos', True)],
)
def test_a_flat_folder_is_segmented_and_what_trained_the_weights_is_said(
    tmp_path, recipe, segmented
):
    pytest.importorskip('timm')
    RenderTinyShapes(12, 1, image_size=64)(tmp_path / 'shapes')
    photographs = tmp_path / 'shapes/train'
    lines = run(recipe, photographs, tmp_path / 'run')
    assert any("ImageNet's image labels" in line for line in lines)
    labels = read_manifest(tmp_path / 'run/pseudo_labels')
    assert bool(labels['settings']['transform'].get('segmenter')) == segmented
    outcomes = json.loads((tmp_path / 'run/pseudo_labels/outcomes.json').read_text())
    assert outcomes['images'] == 12
    image = next(photographs.rglob('*.JPEG'))
    (predicted,) = LUSSInferencer(tmp_path / 'run', device='cpu')([str(image)])['predictions']
    assert predicted.shape == (64, 64) and predicted.max() <= 3
