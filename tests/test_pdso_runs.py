"""PDSO through its tools: once, killed and restarted, and with its parts turned off."""

import json
import signal

import cv2
import numpy as np
import pytest

from tests.killable_tools import run_tool
from tests.small_recipe import (
    assert_same_label_maps,
    assert_same_weights,
    closing_lines,
    copy_run,
    final_scores,
    label_maps,
    next_log,
    start_training,
    train,
)

PDSO = dict(
    recipe='configs/luss/pdso_tiny.py',
    dff_f_epochs=1,
    dff_f_batch_size=16,
    dff_epochs=2,
    dff_batch_size=8,
    sigma=0.3,
    finetune_epochs=1,
)
TRAININGS = ('pretrain', 'attention', 'dff_f', 'dff_g', 'dff_h', 'finetune')
ARRAYS = (
    'features/embeddings',
    'clusters/assignment',
    'dff_f/image_scores/losses',
    'dff_g/image_scores/losses',
    'dff_g/image_scores/labels',
    'dff_features/embeddings',
    'dff_clusters/centroids',
    'csd_clusters/kept',
    'csd_clusters/centroids',
    'csd_clusters/assignment',
)
KILL_POINTS = (
    ('luss_mm.models.attended_backbone.ImageClassifier.forward', 2),  # training f
    ('luss_mm.pipeline.image_batches.opened_atomically', 3),  # scoring under f
    ('luss_mm.pipeline.features._join_scores', 1),
    ('luss_mm.models.attended_backbone.AttendedClassifier.forward', 3),  # training h
    ('luss_mm.pipeline.clusters.write_denoising', 1),
    ('luss_mm.pipeline.image_batches.save_label_map', 20),
)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Work directory of an uninterrupted run. No test may change it."""
    work_dir = tmp_path_factory.mktemp('pdso') / 'finished'
    output = train(work_dir, quick=False, **PDSO)
    work_dir.with_suffix('.log').write_text(output)
    return work_dir


def array(work_dir, name):
    return np.load(work_dir / f'{name}.npy')


def test_every_part_leaves_its_outputs(finished):
    for stage in TRAININGS:
        assert (finished / stage / 'manifest.json').is_file(), stage
    for name in ARRAYS:
        assert len(array(finished, name)), name
    text = closing_lines(finished.with_suffix('.log').read_text())
    assert 'score (finetune): mIoU' in text and 'SAM' not in text
    for pattern in ('dropped/*.jpg', 'clusters/*.jpg', 'strips/*.jpg', 'losses_dff_h.png'):
        assert list((finished / 'pictures').glob(pattern)), pattern


def test_classifiers_train_on_small_losses(finished):
    """g on the images whose loss under f is below the mean, h on those of g."""
    names = sorted(
        str(path.relative_to(finished / 'data/train'))
        for path in (finished / 'data/train').rglob('*.JPEG')
    )
    log = finished.with_suffix('.log').read_text()
    for stage, scored in (('dff_g', 'dff_f'), ('dff_h', 'dff_g')):
        losses = array(finished, f'{scored}/image_scores/losses')
        expected = [n for n, loss in zip(names, losses, strict=True) if loss < losses.mean()]
        listed = (finished / stage / 'selection/images.txt').read_text().splitlines()
        assert listed == expected and 0 < len(listed) < len(names)
        counts = json.loads((finished / stage / 'selection/counts.json').read_text())
        assert sum(counts['kept']) == len(listed) and sum(counts['total']) == len(names)
        shares = ', '.join(f'{k}/{t}' for k, t in zip(counts['kept'], counts['total'], strict=True))
        assert f'retained of each: {shares}' in log
        assert (finished / stage / 'selection/retained.png').is_file()


def test_f_keeps_the_clusters_and_g_replaces_them(finished):
    clusters = array(finished, 'clusters/assignment')
    np.testing.assert_array_equal(array(finished, 'dff_f/image_scores/labels'), clusters)
    assert (array(finished, 'dff_g/image_scores/labels') != clusters).any()


def test_every_label_map_tells_what_became_of_it(finished):
    outcomes = json.loads((finished / 'pseudo_labels/outcomes.json').read_text())
    maps = label_maps(finished)
    assert outcomes['images'] == len(maps) == 48
    shown = sum(len(np.unique(pixels[..., 2])) - (0 in pixels[..., 2]) for pixels in maps.values())
    assert outcomes['categories labelled'] == shown


def test_killed_in_every_part_and_restarted(finished, tmp_path):
    work_dir = tmp_path / 'killed'
    for point in KILL_POINTS:
        run = start_training(work_dir, kill_at=point, **PDSO)
        assert run.wait() == -signal.SIGKILL, (point, run.output[-3000:])
    train(work_dir, **PDSO)
    for stage in TRAININGS:
        assert_same_weights(finished, work_dir, stage)
    for name in ARRAYS:
        np.testing.assert_array_equal(array(finished, name), array(work_dir, name), err_msg=name)
    assert_same_label_maps(finished, work_dir)
    assert final_scores(finished) == final_scores(work_dir)


def test_parts_turned_off_share_what_is_before_them(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'parts')
    refined = label_maps(work_dir)
    output = train(work_dir, use_spo=False, **PDSO)
    assert 'stage 6/7: dff_h' in output and 'classifier scores' not in output
    assert 'INFO - k-means' not in output and 'pixel labels: 48/48' in output
    coarse = label_maps(work_dir)
    assert any((coarse[path] != refined[path]).any() for path in refined)
    output = train(work_dir, use_spo=False, use_csd=False, use_dff=False, **PDSO)
    assert 'dff' not in closing_lines(output) and 'stage 4/4: finetune' in output
    assert 'INFO - features: ' not in output  # those of the attention stage were there
    output = train(work_dir, **PDSO)
    assert 'Epoch(' not in output and 'taken up again' in output
    assert_same_label_maps(finished, work_dir)


def test_prompts_from_the_score_and_refined_predictions(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'score')
    train(work_dir, **PDSO, spo_prompts='score')
    chosen = json.loads((work_dir / 'threshold/threshold.json').read_text())
    settings = json.loads((work_dir / 'pseudo_labels/manifest.json').read_text())['settings']
    assert settings['transform']['prompts'] == 'score'
    assert settings['certain_scores'] == chosen['certain_scores']
    before, after = label_maps(finished), label_maps(work_dir)
    assert before.keys() == after.keys()
    assert any((after[name] != before[name]).any() for name in before)
    run_tool('tools/evaluate_pseudo_labels.py', work_dir, log=next_log(work_dir))
    command = ('tools/test.py', PDSO['recipe'], '--work-dir', work_dir)
    output = run_tool(*command, '--refine', log=next_log(work_dir))
    assert 'predictions refined by GrabCutSegmenter' in output
    scores = json.loads((work_dir / 'finetune_test/evaluation/scores.json').read_text())
    assert scores['refined_by'] == 'GrabCutSegmenter'


def test_label_generation_and_its_quality_by_themselves(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'quality')
    output = run_tool('tools/evaluate_pseudo_labels.py', work_dir, log=next_log(work_dir))
    quality = json.loads((work_dir / 'label_quality/validation/quality.json').read_text())
    assert list(quality['steps']) == ['k-means', 'DFF', 'CSD', 'SPO', 'prediction']
    assert 'masks of this split' in quality['used_ground_truth'] and 'coverage' in output
    for name, figures in quality['steps'].items():
        accuracy = figures.pop('cluster accuracy')
        assert (accuracy is None) == (name == 'prediction') and 0 <= (accuracy or 0) <= 100
        assert all(0 <= value <= 100 for value in figures.values())
        # One epoch on some CPUs leaves a head that calls everything background.
        assert figures['coverage'] > 0 or name == 'prediction'
        assert figures['mIoU, true categories'] >= figures['mIoU']
    predicted, scores = quality['steps']['prediction'], final_scores(work_dir)
    assert round(predicted['mIoU'], 2) == scores['mIoU']
    assert round(predicted['Acc'], 2) == scores['ImgAcc']
    out = work_dir / 'label_quality/validation'
    assert len(list((out / 'pictures').glob('*.jpg'))) == 13
    run_tool('tools/report.py', work_dir, log=next_log(work_dir))
    page = (work_dir / 'report/index.html').read_text()
    assert 'mIoU of validation from step to step' in page and 'true foreground' in page
    for name in ('SPO', 'prediction'):
        kept = label_maps_in(out / name / ('labels' if name == 'SPO' else 'labels/labels'))
        named = label_maps_in(out / name / ('categories' if name == 'SPO' else 'categories/labels'))
        assert kept.keys() == named.keys() and len(kept) == 13
        assert all(named[path][..., 2].all() for path in kept)
        if name == 'prediction':  # argmax over all ids, where it is not 0, is that over 1 to K
            for path, labels in kept.items():
                shown = labels[..., 2] > 0
                np.testing.assert_array_equal(labels[shown], named[path][shown])


def label_maps_in(folder):
    return {str(p.relative_to(folder)): cv2.imread(str(p)) for p in folder.rglob('*.png')}
