"""Learning Pseudo Labels through the real tool: both stages, once, and killed and restarted."""

import json
import signal

import cv2
import numpy as np
import pytest

from tests.killable_tools import REPOSITORY, run_tool, start_tool
from tests.small_pct import CATEGORIES, OPTIONS, write_backbone, write_folder
from tests.small_recipe import assert_same_weights, closing_lines, next_log

RECIPE = REPOSITORY / 'configs/semi/pct_folder.py'
STAGES = ('pct', 'retrain')
KILL_POINTS = (
    ('luss_mm.models.pct_segmentor.PCTSegmentor.loss', 4),  # of four, after a checkpoint
    ('luss_mm.pipeline.image_batches.save_label_map', 6),  # in the second shard of three
    ('luss_mm.models.luss_segmentor.LUSSSegmentor.loss', 4),
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('pct')
    write_backbone(root / 'backbone.pth', RECIPE)
    return write_folder(root)


@pytest.fixture(scope='module')
def finished(root):
    """Work directory of an uninterrupted run. No test may change it."""
    work_dir = root / 'finished'
    output = run_tool('tools/train.py', *arguments(root, work_dir), log=next_log(work_dir))
    work_dir.with_suffix('.log').write_text(output)
    return work_dir


def arguments(root, work_dir, **options):
    settings = OPTIONS | dict(data_root=root, checkpoint=root / 'backbone.pth') | options
    settings['log_level'] = 'DEBUG'  # iterations are shown
    pairs = [f'{key}={value}' for key, value in settings.items()]
    return [str(RECIPE), '--work-dir', str(work_dir), '--cfg-options', *pairs]


def read_maps(folder):
    """Relative paths to ids, read without the package."""
    paths = sorted(folder.rglob('*.png'))
    pixels = {str(p.relative_to(folder)): cv2.imread(str(p)).astype(int) for p in paths}
    return {name: bgr[..., 2] + 256 * bgr[..., 1] for name, bgr in pixels.items()}


def scores_of(work_dir, stage):
    return json.loads((work_dir / stage / 'metrics.json').read_text())['metrics']


def test_both_stages_are_scored(finished):
    """H and P with tags, the retrained network without."""
    scores = scores_of(finished, 'pct')
    assert {'hybrid/mIoU', 'pseudo/mIoU'} <= scores.keys() and 'mIoU' not in scores
    assert 0 <= scores_of(finished, 'retrain')['mIoU'] <= 100
    text = closing_lines(finished.with_suffix('.log').read_text())
    assert 'score (pct): hybrid/mIoU' in text and 'score (retrain): mIoU' in text
    for used in (
        'masks of the labelled images: training',
        'masks of the labelled images: copied into the label maps',
        'image tags of the tagged images: training',
        'image tags of the tagged images: label maps',
        'image tags of the validation images',
        'validation masks: scoring',
    ):
        assert used in text, used


def test_label_maps_are_masks_or_show_nothing_but_tags(root, finished):
    maps, masks = read_maps(finished / 'tagged_labels'), read_maps(root / 'train-semi-segmentation')
    images = {str(p.relative_to(root / 'train')) for p in (root / 'train').rglob('*.png')}
    assert maps.keys() == images and masks.keys() < images
    for name, labels in maps.items():
        if name in masks:
            np.testing.assert_array_equal(labels, masks[name], err_msg=name)
        else:
            assert set(np.unique(labels)) <= {0, 1 + CATEGORIES.index(name.split('/')[0])}
    pictures = list((finished / 'pictures/tagged_labels').glob('*.png'))
    assert len(pictures) == len(masks) + len(images)


def test_killed_in_every_part_and_restarted(root, finished):
    work_dir = root / 'killed'
    for point in KILL_POINTS:
        log = next_log(work_dir)
        run = start_tool('tools/train.py', *arguments(root, work_dir), log=log, kill_at=point)
        assert run.wait() == -signal.SIGKILL, (point, run.output[-3000:])
    output = run_tool('tools/train.py', *arguments(root, work_dir), log=next_log(work_dir))
    assert 'Iter(train) [1/4]' not in output and 'Iter(train) [4/4]' in output  # resumed
    for stage in STAGES:
        assert_same_weights(finished, work_dir, stage)
        assert scores_of(finished, stage) == scores_of(work_dir, stage)
    ours, theirs = (read_maps(run / 'tagged_labels') for run in (finished, work_dir))
    assert ours.keys() == theirs.keys()
    for name, labels in ours.items():
        np.testing.assert_array_equal(labels, theirs[name], err_msg=name)
