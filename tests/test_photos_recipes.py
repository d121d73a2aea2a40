"""The recipes for photographs from end to end: packaged weights, a flat folder, a few steps."""

import json

import pytest
from mmengine.config import Config

from luss_mm.checkpoints.loading import load_checkpoint
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.pipeline.rendered_images import RenderTinyShapes
from luss_mm.work_dir.manifest import read_manifest
from tests.small_pct import write_folder
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


FEW_STEPS = dict(
    num_categories=3,
    resize_side=32,
    crop_size=32,
    num_workers=0,
    labelled_batch=2,
    checkpoint_interval=2,
)


@pytest.mark.parametrize(
    'recipe, options, score',
    [
        ('supervised', dict(iterations=2), 'mIoU'),
        ('dssn', dict(unlabelled_batch=2, epochs=1), 'student/mIoU'),
        (
            'pct',
            dict(iterations=2, tagged_batch=2, retrain_iterations=2, retrain_batch_size=2),
            'mIoU',
        ),
    ],
)
def test_few_masks_train_a_head_alone(tmp_path, recipe, options, score):
    """A step of each: the backbone stays bit for bit what its package holds."""
    pytest.importorskip('timm')
    config = Config.fromfile(CONFIGS / 'semi' / f'{recipe}_photos.py')
    root = write_folder(tmp_path / 'images', tagged=2, validation=1)
    config.merge_from_dict(
        FEW_STEPS | options | dict(data_root=str(root), work_dir=str(tmp_path / 'run'))
    )
    config.launcher = 'none'
    runner = StagedRunner(config)
    runner.train()
    assert any("ImageNet's image labels" in line for line in runner.closing_lines())
    stage = tmp_path / 'run' / runner.recipe.stage_order[-1]
    assert score in json.loads((stage / 'metrics.json').read_text())['metrics']
    trained = load_checkpoint(stage / 'final.pth')['state_dict']
    published = load_checkpoint('package:efficientnet_lite0')['state_dict']
    of_backbone = {k.partition('backbone.')[2]: v for k, v in trained.items() if 'backbone.' in k}
    assert len(of_backbone) > 100
    for name, value in of_backbone.items():
        assert value.equal(published[f'backbone.{name}']), name
