"""The recipe through its tools: run, run again, killed, copied, on two ranks, with mistakes."""

import json
import shutil
import signal
import socket
import sys
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from tests.small_recipe import (
    REPOSITORY,
    STAGES,
    TRAIN,
    assert_same_clusters,
    assert_same_label_maps,
    assert_same_run,
    copy_run,
    final_scores,
    run_command,
    run_tool,
    start_training,
    train,
    train_arguments,
    weights,
)

MMSEG_TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'
MADE_BY_THE_LABEL_HOOK = ('features', 'clusters', 'threshold', 'pseudo_labels')
NUM_CATEGORIES = 7
TRAIN_ON_RANKS = 'tools/dist_train.sh'


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Work directory of an uninterrupted run from the command line. Not to be changed."""
    work_dir = tmp_path_factory.mktemp('finished') / 'run'
    command = [sys.executable, TRAIN, *train_arguments(work_dir)]
    run_command(*command, log=work_dir.with_name('run.log'))
    return work_dir


def closing_lines(output):
    return output[output.index('finished: ') :]


def trainings(output):
    """(stage, epoch) of every epoch that an output tells of."""
    found, stage = [], None
    for line in output.splitlines():
        if ' - stage ' in line:
            stage = line.split(': ')[-1]
        elif 'Epoch(train)' in line and '[1/3]' in line:
            found.append((stage, int(line.split('[')[1].split(']')[0])))
    return found


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
    for pattern in ('clusters/*.jpg', 'validation/*.jpg', 'losses_*.png', '*threshold.png'):
        assert list((finished / 'pictures').glob(pattern)), pattern


def images_of(work_dir):
    return list((work_dir / 'data' / 'train').rglob('*.JPEG'))


def test_the_closing_lines_say_what_one_wants_to_know(finished):
    text = closing_lines(finished.with_name('run.log').read_text())
    scores = final_scores(finished)
    assert scores.keys() == {'mIoU', 'b-mIoU', 'ImgAcc', 'F-beta'}
    assert all(f'{name} {value:.2f}' in text for name, value in scores.items())
    assert 'labels used: validation masks: matching and scoring\n' in text
    assert f'pictures: {finished / "pictures"}' in text
    assert f'model: {finished / "finetune/final.pth"}' in text
    written = json.loads((finished / 'finetune/evaluation/scores.json').read_text())
    assert {name: written[name] for name in scores} == scores


def test_the_same_command_again_runs_nothing(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'moved')
    before = {p: p.stat().st_mtime_ns for p in work_dir.rglob('*') if p.is_file()}
    output = train(work_dir, num_workers=0, default_hooks__logger__interval=7)
    assert 'Epoch(' not in output and 'features:' not in output
    first = closing_lines(finished.with_name('run.log').read_text())
    expected = first.replace(str(finished), str(work_dir)).split('\n')[:5]
    assert closing_lines(output).split('\n')[:5] == expected
    after = {p: p.stat().st_mtime_ns for p in work_dir.rglob('*') if p.is_file()}
    changed = {p.name for p in after if before.get(p) != after[p]}
    assert changed == {'recipe.json'}


def test_a_changed_rate_redoes_fine_tuning_alone_and_changed_back_nothing(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'changed')
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


def assert_same_weights(first, second, stage):
    ours, theirs = weights(first, stage), weights(second, stage)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


# ---------------------------------------------------------------- killed

# In the second of the epochs, the third of six shards, and so on: with something left to keep.
KILL_POINTS = {
    'attention': ('luss_mm.models.pixel_attention_model.PixelAttentionModel.loss', 5),
    'features': ('luss_mm.pipeline.extract_features._save_array', 5),
    'k-means': ('luss_mm.pipeline.cluster_features.write_atomically', 3),
    'labels': ('luss_mm.pipeline.generate_labels.save_label_map', 20),
    'finetune': ('luss_mm.models.luss_segmentor.LUSSSegmentor.loss', 8),
    'validation': ('luss_mm.evaluation.unsupervised_iou.UnsupervisedIoUMetric.process', 6),
}
MORE_KILL_POINTS = {
    'images': ('luss_mm.pipeline.tiny_shapes._write', 20),
    'first epoch': ('luss_mm.models.pass_pretrainer.PASSPretrainer.loss', 2),
    'saving': ('luss_mm.engine.checkpoint.write_atomically', 2),
    'queue': ('luss_mm.models.feature_queue.FeatureQueue.push', 2),
    'last state': ('luss_mm.engine.staged_runner.Config.dump', 2),
    'renaming': ('luss_mm.pipeline.artifact._set_aside', 1),
    'attention saved': ('luss_mm.engine.staged_runner.Config.dump', 4),
    'joining': ('luss_mm.pipeline.extract_features._join_shards', 1),
    'joined': ('luss_mm.pipeline.artifact.write_atomically', 1),
    'threshold': ('luss_mm.pipeline.foreground_threshold.otsu_threshold', 1),
    'labelled': ('luss_mm.pipeline.artifact.write_atomically', 2),
    'first fine-tuning': ('luss_mm.models.luss_segmentor.LUSSSegmentor.loss', 2),
    'writing the score': ('luss_mm.engine.hooks.final_validation.write_atomically', 1),
    'pictures': ('luss_mm.engine.hooks.pictures.save_strip', 3),
    'finished': ('luss_mm.engine.staged_runner.StagedRunner.closing_lines', 1),
}


def kill_at(point, work_dir):
    run = start_training(work_dir, kill_at=point)
    assert run.wait() == -signal.SIGKILL, run.output[-3000:]
    return run.output


def test_killed_in_every_stage_and_restarted(finished, tmp_path):
    work_dir = tmp_path / 'killed'
    run = start_training(work_dir)
    run.kill_when_exists(work_dir, 'pretrain.partial-*/epoch_1.pth')
    outputs = [run.output]
    for point in KILL_POINTS.values():
        outputs.append(kill_at(point, work_dir))
    outputs.append(train(work_dir))
    first_epochs = [stage for stage, epoch in trainings(''.join(outputs)) if epoch == 1]
    assert first_epochs == list(STAGES)  # none was started anew
    assert_same_run(finished, work_dir)


@pytest.mark.slow
def test_killed_in_many_places(finished, tmp_path):
    work_dir = tmp_path / 'killed'
    for point in MORE_KILL_POINTS.values():
        kill_at(point, work_dir)
    train(work_dir)
    assert_same_run(finished, work_dir)


@pytest.mark.slow
def test_killed_at_any_time(finished, tmp_path):
    work_dir = tmp_path / 'killed'
    rng = np.random.default_rng(0)
    for _ in range(8):
        run = start_training(work_dir)
        run.process.join(rng.uniform(0.5, 4))
        if not run.process.is_alive():
            break
        run.kill()
    train(work_dir)
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


def test_label_maps_do_not_depend_on_the_number_of_ranks(finished, tmp_path):
    work_dir = copy_run(finished, tmp_path / 'run')
    for name in MADE_BY_THE_LABEL_HOOK:
        shutil.rmtree(work_dir / name)
    launch = ['torchrun', '--nproc_per_node', 2, '--master_port', free_port()]
    recipe, *arguments = train_arguments(work_dir)
    script = ['tools/make_pseudo_labels.py', recipe, '--launcher', 'pytorch']
    output = run_command(*launch, *script, *arguments, log=tmp_path / 'log')
    assert 'features: 24/24' in output  # a half
    assert_same_clusters(finished, work_dir)
    assert_same_label_maps(finished, work_dir)


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


@pytest.mark.slow
def test_the_whole_recipe_on_two_ranks(tmp_path):
    batches = dict(batch_size=8, finetune_batch_size=8)  # on each rank
    work_dir, log = tmp_path / 'run', tmp_path / 'log'
    recipe, *arguments = train_arguments(work_dir, **batches)
    output = run_command('bash', TRAIN_ON_RANKS, recipe, 2, *arguments, log=log, PORT=free_port())
    assert closing_lines(output).count('score (finetune): mIoU') == 1
    scores = json.loads((work_dir / 'finetune/evaluation/scores.json').read_text())
    assert scores['num_images'] == 13  # the one that the sampler repeats is counted once
    # One rank scores as two do.
    arguments = [recipe, 2, '--work-dir', work_dir]
    run_command('bash', 'tools/dist_test.sh', *arguments, log=log, PORT=free_port())
    assert scores_in(work_dir / 'finetune_test/evaluation') == final_scores(work_dir)
    shutil.rmtree(work_dir / 'finetune_test')
    run_tool('tools/test.py', recipe, '--work-dir', work_dir, log=log)
    assert scores_in(work_dir / 'finetune_test/evaluation') == final_scores(work_dir)
    # Nor does one rank train anew what two have trained, and two train in the same way twice.
    assert not trainings(train(work_dir, **batches))
    arguments = train_arguments(tmp_path / 'again', **batches)[1:]
    run_command('bash', TRAIN_ON_RANKS, recipe, 2, *arguments, log=log, PORT=free_port())
    assert_same_run(work_dir, tmp_path / 'again')


def scores_in(directory):
    written = json.loads((directory / 'scores.json').read_text())
    return {name: written[name] for name in ('mIoU', 'b-mIoU', 'ImgAcc', 'F-beta')}


# ---------------------------------------------------------------- mmseg's tools and ours


def test_the_tools_of_mmseg_train_and_test(finished, tmp_path):
    """And the same seed gives the same run."""
    work_dir = tmp_path / 'run'
    log = tmp_path / 'log'
    output = run_tool(MMSEG_TOOLS / 'train.py', *train_arguments(work_dir), log=log)
    assert 'score (finetune)' in closing_lines(output)
    assert_same_run(finished, work_dir)
    stage = work_dir / 'finetune'
    shutil.rmtree(stage / 'evaluation')
    run_tool(MMSEG_TOOLS / 'test.py', stage / 'config.py', stage / 'final.pth', log=log)
    assert scores_in(stage / 'evaluation') == final_scores(finished)


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
    # What scores say is what files say: others' IoU by hand.
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
    train(work_dir, seed=1, stages__data__task__seed=0)
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
        return DATASETS.build(config.train_dataloader.dataset)[0]['inputs']


# ---------------------------------------------------------------- mistakes

MISTAKES = {
    'a misspelt setting': (
        dict(num_catgories=7),
        "no stage uses the setting 'num_catgories'; did you mean 'num_categories'?",
    ),
    'a misspelt key of a stage': (
        dict(stages__pretrain__train_cfgg__max_epochs=3),
        "stages.pretrain.train_cfgg: mmengine has no such key; did you mean 'train_cfg'?",
    ),
    'a misspelt argument': (
        dict(stages__pretrain__model__queue_lenght=3),
        'stages.pretrain.model.queue_lenght: PASSPretrainer takes no such argument; did you mean '
        "'queue_length'?",
    ),
    'an unknown stage': (
        dict(stage_order='data,pretrian'),
        "stage_order names 'pretrian', which stages lacks; did you mean 'pretrain'?",
    ),
    'a large batch': (
        dict(batch_size=500),
        'stages.pretrain.train_dataloader: 48 images do not fill one batch of 500 on 1 rank(s). '
        'Set a smaller batch_size.',
    ),
    'a large batch in a later stage': (
        dict(finetune_batch_size=500),
        'stages.finetune.train_dataloader: 48 images do not fill one batch of 500 on 1 rank(s). '
        'Set a smaller finetune_batch_size.',
    ),
    'many clusters': (
        dict(num_categories=49),
        'stages.finetune.custom_hooks: PseudoLabelHook: 48 training images cannot form 49 '
        'clusters. Set a smaller num_categories.',
    ),
    'no data': (
        dict(data_root='/nowhere', stage_order='pretrain,attention,finetune'),
        'stages.pretrain.train_dataloader: /nowhere/train: no such folder. Set data_root or '
        'data_prefix.',
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_named_before_any_training(name, tmp_path):
    options, message = MISTAKES[name]
    run = start_training(tmp_path / 'run', **options)
    assert run.wait() == 1
    assert run.output.rstrip().split('\n')[-1] == message
    assert 'Traceback' not in run.output and 'Epoch(' not in run.output
    assert not list((tmp_path / 'run').glob('pretrain*'))


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
