"""Killed anywhere and started again, a run ends as if nothing had happened."""

import signal

import numpy as np
import pytest

from tests.left_over import left_over
from tests.small_recipe import (
    STAGES,
    assert_same_run,
    finished_run,
    start_training,
    train,
    trainings,
)

# In the second of the epochs, the third of six shards, and so on: with something left to keep.
KILL_POINTS = {
    'attention': ('luss_mm.models.pixel_attention_model.PixelAttentionModel.loss', 5),
    'features': ('luss_mm.pipeline.image_batches.opened_atomically', 3),
    'k-means': ('luss_mm.work_dir.run_folder.write_array', 2),
    'labels': ('luss_mm.pipeline.image_batches.save_label_map', 20),
    'renaming a label map': ('os.replace', 30),
    'finetune': ('luss_mm.models.luss_segmentor.LUSSSegmentor.loss', 8),
    'validation': ('luss_mm.evaluation.metrics.UnsupervisedIoUMetric.process', 6),
}
MORE_KILL_POINTS = {
    'images': ('luss_mm.pipeline.rendered_images._write', 20),
    'first epoch': ('luss_mm.models.pass_pretrainer.PASSPretrainer.loss', 2),
    'saving': ('luss_mm.checkpoints.loading.write_atomically', 2),
    'queue': ('luss_mm.models.balanced_assignment.FeatureQueue.push', 2),
    'last state': ('luss_mm.engine.staged_runner.Config.dump', 2),
    'renaming': ('luss_mm.work_dir.artifact._set_aside', 1),
    'attention saved': ('luss_mm.engine.staged_runner.Config.dump', 4),
    'joining': ('luss_mm.pipeline.features._join_features', 1),
    'joined': ('luss_mm.work_dir.artifact.write_json', 1),
    'threshold': ('luss_mm.pipeline.generate_labels.otsu_threshold', 1),
    'labelled': ('luss_mm.work_dir.artifact.write_json', 2),
    'first fine-tuning': ('luss_mm.models.luss_segmentor.LUSSSegmentor.loss', 2),
    'writing the score': ('luss_mm.work_dir.run_folder.StageFolder.write_metrics', 1),
    'pictures': ('luss_mm.engine.hooks.results.picture_strip', 3),
    'finished': ('luss_mm.engine.staged_runner.StagedRunner.closing_lines', 1),
}


@pytest.fixture(scope='module')
def finished():
    return finished_run()


def kill_at(point, work_dir):
    run = start_training(work_dir, kill_at=point, quick='picture_strip' not in point[0])
    assert run.wait() == -signal.SIGKILL, run.output[-3000:]
    return run.output


def test_killed_in_every_stage_and_restarted(finished, tmp_path):
    work_dir = tmp_path / 'killed'
    run = start_training(work_dir)
    run.kill_when_exists(work_dir, 'pretrain.partial-*/epoch_1.pth')
    outputs = [run.output]
    for name, point in KILL_POINTS.items():
        outputs.append(kill_at(point, work_dir))
        if name == 'renaming a label map':
            assert any(path.endswith('.tmp.png') for path in left_over(work_dir))
    outputs.append(train(work_dir))
    first_epochs = [stage for stage, epoch in trainings('\n'.join(outputs)) if epoch == 1]
    assert first_epochs == list(STAGES)  # none was started again
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
        if run.ends_within(rng.uniform(0.5, 4)):
            break
        run.kill()
    train(work_dir)
    assert_same_run(finished, work_dir)
