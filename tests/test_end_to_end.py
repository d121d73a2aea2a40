"""The recipe through its tools: run, run again, changed, copied, with other networks."""

import json
import re
import shutil
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from luss_mm.datasets.samplers import EpochIndex
from tests.killable_tools import REPOSITORY, run_tool
from tests.small_recipe import (
    MADE_BY_THE_LABEL_HOOK,
    NUM_CATEGORIES,
    STAGES,
    assert_same_clusters,
    assert_same_label_maps,
    assert_same_run,
    assert_same_weights,
    closing_lines,
    copy_run,
    final_scores,
    finished_run,
    scores_in,
    start_training,
    train,
    train_arguments,
    trainings,
    weights,
)

MMSEG_TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def finished():
    return finished_run()


# ---------------------------------------------------------------- once and again


def test_one_command_from_nothing_to_a_score(finished):
    for stage in STAGES:
        for name in ('config.py', 'final.pth', 'manifest.json'):
            assert (finished / stage / name).is_file(), (stage, name)
    for name in ('data', *MADE_BY_THE_LABEL_HOOK):
        assert (finished / name / 'manifest.json').is_file(), name
    assert not list(finished.glob('*partial*'))
    images = {p.relative_to(finished / 'data/train').with_suffix('') for p in images_of(finished)}
    masks = {
        p.relative_to(finished / 'pseudo_labels').with_suffix('')
        for p in (finished / 'pseudo_labels').rglob('*.png')
    }
    assert len(images) == 48 and masks == images
    match = json.loads((finished / 'finetune/evaluation/match.json').read_text())
    assert set(match) == {str(i) for i in range(NUM_CATEGORIES + 1)} and match['0'] == 0
    assert (finished / 'finetune/evaluation/scores.json').is_file()
    for pattern in ('clusters/*.jpg', 'strips/*.jpg', 'losses_*.png', '*threshold.png'):
        assert list((finished / 'pictures').glob(pattern)), pattern


def images_of(work_dir):
    return list((work_dir / 'data' / 'train').rglob('*.JPEG'))


def test_every_stage_says_how_much_time_is_left(finished):
    output = finished.with_suffix('.log').read_text()
    time = r'[\d.]+ (s|min \d+ s)'
    for name in STAGES[:-1]:
        assert re.search(rf'time left: about {time}, {time} of it for {name}\n', output)
    assert re.search(rf'time left: about {time}\n', output)


def test_the_closing_lines_say_what_one_wants_to_know(finished):
    text = closing_lines(finished.with_suffix('.log').read_text())
    scores = final_scores(finished)
    assert list(scores)[:4] == ['mIoU', 'b-mIoU', 'ImgAcc', 'F-beta']
    assert all(f'{name} {value:.2f}' in text for name, value in scores.items())
    assert 'labels used: validation masks: matching and scoring\n' in text
    assert re.search(
        r'\nforeground, mean of the images: .*predictions \(validation images\)\n', text
    )
    assert f'pictures: {finished / "pictures"}' in text
    assert f'report: {finished / "report" / "index.html"}' in text
    assert f'model: {finished / "finetune/final.pth"}' in text
    written = json.loads((finished / 'finetune/evaluation/scores.json').read_text())
    assert {name: written[name] for name in scores} == scores


def test_the_same_command_again_runs_nothing(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'moved')
    before = {p: p.stat().st_mtime_ns for p in work_dir.rglob('*') if p.is_file()}
    output = train(work_dir, num_workers=0, default_hooks__logger__interval=7)
    assert 'Epoch(' not in output and 'features:' not in output
    first = closing_lines(finished.with_suffix('.log').read_text())
    expected = first.replace(str(finished), str(work_dir)).split('\n')[:5]
    assert closing_lines(output).split('\n')[:5] == expected
    after = {p: p.stat().st_mtime_ns for p in work_dir.rglob('*') if p.is_file()}
    changed = {p.relative_to(work_dir).parts[0] for p in after if before.get(p) != after[p]}
    # the lists of bad images hold whole paths: moved images are looked at again; every start lists
    # the images again
    unchecked = {name for name in changed if 'image_check' not in name}
    assert unchecked == {'recipe.json', '.lock', 'image_index'}
    assert 'image_index' not in (work_dir / 'finetune' / 'config.py').read_text()


def test_a_changed_rate_redoes_fine_tuning_alone_and_changed_back_nothing(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'changed')
    stopped = start_training(work_dir, finetune_lr=0.02, on_change='stop')
    assert stopped.wait() == 1 and 'Traceback' not in stopped.output
    assert 'finetune was made with other inputs or settings (settings.optim' in stopped.output
    assert not trainings(train(work_dir, finetune_lr=0.02, on_change='keep'))
    assert_same_run(finished, work_dir)
    output = train(work_dir, finetune_lr=0.02)
    assert trainings(output) == [('finetune', 1), ('finetune', 2), ('finetune', 3)]
    assert 'features:' not in output and 'pixel labels:' not in output
    assert 'optim_wrapper.optimizer.lr: 0.05 -> 0.02' in output
    assert 'kept as finetune.' in output
    for stage in ('pretrain', 'attention'):
        assert_same_weights(finished, work_dir, stage)
    assert_same_clusters(finished, work_dir)
    output = train(work_dir)
    assert 'taken up again from finetune.' in output and not trainings(output)
    assert_same_run(finished, work_dir)


# ---------------------------------------------------------------- what must not matter


def test_without_category_folders_everything_is_the_same(finished, tmp_path):
    """The folders are the labels: nothing may depend on them."""
    flat = tmp_path / 'flat'
    source = finished / 'data'
    for split in ('validation', 'validation-segmentation'):
        shutil.copytree(source / split, flat / split)
    (flat / 'train').mkdir()
    for number, path in enumerate(sorted(images_of(finished))):
        shutil.copy(path, flat / 'train' / f'{number:03d}.JPEG')
    stage_order = ','.join(STAGES)
    train(tmp_path / 'run', data_root=flat, stage_order=stage_order)
    assert_same_clusters(finished, tmp_path / 'run')
    ours, theirs = (
        sorted((r / 'pseudo_labels').rglob('*.png')) for r in (finished, tmp_path / 'run')
    )
    assert [path.name for path in theirs] == [f'{number:03d}.png' for number in range(48)]
    for one, other in zip(ours, theirs, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert final_scores(finished) == final_scores(tmp_path / 'run')


# ---------------------------------------------------------------- mmseg's tools and ours


def test_the_tools_of_mmseg_train_and_test(finished, tmp_path):
    """And the same seed gives the same run."""
    work_dir = tmp_path / 'run'
    log = tmp_path / 'log'
    output = run_tool(MMSEG_TOOLS / 'train.py', *train_arguments(work_dir), log=log)
    assert 'score (finetune)' in closing_lines(output)
    assert_same_run(finished, work_dir)
    stage = work_dir / 'finetune'
    out = tmp_path / 'out'
    arguments = ['--work-dir', out, '--cfg-options', f'test_evaluator.output_dir={out}']
    run_tool(MMSEG_TOOLS / 'test.py', stage / 'config.py', stage / 'final.pth', *arguments, log=log)
    assert scores_in(out) == final_scores(finished)


def test_our_test_tool_scores_and_writes_predictions(finished, tmp_path):
    recipe, *_ = train_arguments(finished)
    out = tmp_path / 'out'
    work_dir = copy_run(finished, tmp_path / 'run')
    arguments = [recipe, '--work-dir', work_dir, '--out', out]
    run_tool('tools/test.py', *arguments, log=tmp_path / 'log')
    assert scores_in(out) == final_scores(finished)
    predictions = sorted((out / 'predictions').rglob('*.png'))
    truths = sorted((finished / 'data' / 'validation-segmentation').rglob('*.png'))
    assert [p.relative_to(out / 'predictions') for p in predictions] == [
        t.relative_to(finished / 'data' / 'validation-segmentation') for t in truths
    ]
    for prediction, truth in zip(predictions, truths, strict=True):
        blue, green, red = np.moveaxis(cv2.imread(str(prediction)).astype(int), -1, 0)
        assert blue.max() == 0 and (red + 256 * green).max() <= NUM_CATEGORIES
        assert blue.shape == cv2.imread(str(truth)).shape[:2]
    # The score is that of the files.
    match = json.loads((out / 'match.json').read_text())
    assert match == json.loads((finished / 'finetune/evaluation/match.json').read_text())
    assert abs(mean_iou(predictions, truths, match) - final_scores(finished)['mIoU']) < 0.006


def mean_iou(predictions, truths, match):
    """In percent, from the files alone; ids below 256."""
    mapping = np.array([match[str(i)] for i in range(len(match))])
    predicted = np.concatenate([mapping[cv2.imread(str(p))[..., 2]].ravel() for p in predictions])
    truth = np.concatenate([cv2.imread(str(t))[..., 2].ravel() for t in truths])
    ious = []
    for category in range(NUM_CATEGORIES + 1):
        one, other = predicted == category, truth == category
        ious.append((one & other).sum() / max((one | other).sum(), 1))
    return 100 * np.mean(ious)


# ---------------------------------------------------------------- seeds


def test_another_seed_draws_other_views_and_gives_other_clusters(finished, tmp_path):
    work_dir = tmp_path / 'run'
    options = dict(seed=1, stages__data__task__seed=0)
    train(work_dir, stage_order='data,pretrain,attention', **options)
    tool, log = 'tools/generate_pseudo_labels.py', tmp_path / 'log'
    run_tool(tool, *train_arguments(work_dir, **options), log=log)
    for path in images_of(finished):
        assert path.read_bytes() == (work_dir / path.relative_to(finished)).read_bytes()
    ours, theirs = (np.load(r / 'clusters/centroids.npy') for r in (finished, work_dir))
    assert not np.allclose(ours, theirs)
    first, again, other = (training_views(run) for run in (finished, finished, work_dir))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def training_views(work_dir):
    """All views of the first image in the first epoch."""
    config = Config.fromfile(work_dir / 'pretrain' / 'config.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(config.train_dataloader.dataset)[EpochIndex(0, 0)]['inputs']


# ---------------------------------------------------------------- other networks, no labels

CONVNEXT = """
_base_ = '{recipe}'
backbone = dict(
    _delete_=True,
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 48]),
    out_indices=(1, 2, 3),
    drop_path_rate=0.1,
    gap_before_final_norm=False,
)
in_index = 2
feature_channels = 48
shallow_heads = [
    dict(
        type='DeepToShallowHead',
        in_index=1,
        in_channels=32,
        hidden_channels='${{hidden_channels}}',
        embedding_channels='${{embedding_channels}}',
    )
]
"""


def test_a_backbone_of_mmpretrain(tmp_path):
    recipe = tmp_path / 'convnext.py'
    recipe.write_text(CONVNEXT.format(recipe=REPOSITORY / 'configs/luss/pass_tiny.py'))
    changed = dict.fromkeys(
        ('feature_channels', 'backbone__base_channels', 'backbone__stem_channels')
    )
    changed['pretrain_views__1__size'] = 32  # its stride
    output = train(tmp_path / 'run', recipe=recipe, **changed)
    assert 'score (finetune)' in closing_lines(output)
    keys = {key.split('.')[0] for key in weights(tmp_path / 'run', 'finetune')}
    assert keys == {'backbone', 'decode_head'}
    assert np.load(tmp_path / 'run' / 'clusters' / 'centroids.npy').shape == (NUM_CATEGORIES, 48)


@pytest.mark.slow
def test_without_masks_nothing_is_scored_and_no_label_is_used(finished, tmp_path):
    shutil.copytree(finished / 'data' / 'train', tmp_path / 'images' / 'train')
    options = dict(evaluate=False, data_root=tmp_path / 'images', stage_order=','.join(STAGES))
    work_dir = tmp_path / 'images' / 'run'  # within the data, as users do
    output = train(work_dir, **options)
    assert 'labels used: none' in closing_lines(output) and 'score' not in closing_lines(output)
    assert 'predictions (pictured training images)' in closing_lines(output)
    assert_same_label_maps(finished, work_dir)
    assert 'Epoch(' not in train(work_dir, **options)


@pytest.mark.slow
def test_labels_that_were_looked_at_are_named(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'run')
    output = train(work_dir, foreground_threshold='validation_sweep')
    used = 'labels used: validation masks: foreground threshold; validation masks: matching and'
    assert used in closing_lines(output)
    assert {stage for stage, _ in trainings(output)} == {'finetune'}
    assert 'features:' not in output  # what the threshold does not change is kept
    assert_same_weights(finished, work_dir, 'attention')
