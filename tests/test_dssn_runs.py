"""A small DSSN run from the command line; killed and started again, it ends no differently."""

import json
import signal

import pytest
import torch

from tests.killable_tools import run_tool, start_tool
from tests.semi_recipes import TINY, TINY_BACKBONES, tiny_data, tiny_weights

RECIPE, TRAIN = 'configs/semi/dssn_folder.py', 'tools/train.py'
LOSS = 'luss_mm.models.dssn_segmentor.DSSNSegmentor.loss'
EPOCHS, ITERATIONS = 3, 2  # 4 unlabelled images, 2 a step


def arguments(work_dir):
    options = TINY | TINY_BACKBONES['folder'] | tiny_data('folder')
    options |= dict(checkpoint=tiny_weights('dssn_folder'), epochs=EPOCHS, log_level='DEBUG')
    pairs = [f'{key}={value}'.replace(' ', '') for key, value in options.items()]
    return [RECIPE, '--work-dir', str(work_dir), '--cfg-options', *pairs]


def train(work_dir):
    return run_tool(TRAIN, *arguments(work_dir), log=work_dir.with_suffix('.log'))


def state(work_dir):
    return torch.load(work_dir / 'dssn/final.pth', weights_only=False)['state_dict']


def scores(work_dir):
    return json.loads((work_dir / 'dssn/metrics.json').read_text())


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Work directory and output of an uninterrupted run."""
    work_dir = tmp_path_factory.mktemp('runs') / 'finished'
    return work_dir, train(work_dir)


def test_student_and_teacher_are_scored(finished):
    work_dir, output = finished
    found = scores(work_dir)
    assert found['epoch'] == EPOCHS and found['iter'] == EPOCHS * ITERATIONS
    for network in ('student', 'teacher'):
        assert 0 <= found['metrics'][f'{network}/mIoU'] <= 100
        assert f'{network}/mIoU' in output
    assert 'labels used: masks of the labelled images: training; validation masks' in output


def test_the_test_tool_writes_the_predictions_of_both(finished, tmp_path):
    out = tmp_path / 'predictions'
    arguments = RECIPE, '--work-dir', finished[0], '--out', out
    run_tool('tools/test.py', *arguments, log=tmp_path / 'log')
    maps = {name: sorted((out / name).rglob('*.png')) for name in ('student', 'teacher')}
    assert len(maps['student']) == len(maps['teacher']) > 0


def test_teacher_is_an_average_of_the_student_and_learns_its_statistics(finished):
    weights = state(finished[0])
    student = {k[len('student.') :]: v for k, v in weights.items() if k.startswith('student.')}
    different = 0
    for key, value in student.items():
        averaged = weights[f'teacher.module.{key}']
        assert averaged.shape == value.shape
        different += not torch.equal(averaged, value)
    assert weights['teacher.steps'] == EPOCHS * ITERATIONS
    assert different > len(student) // 2
    mean = weights['teacher.module.backbone.bn1.running_mean']
    assert not torch.equal(mean, torch.zeros_like(mean))


@pytest.mark.parametrize(
    'call', [ITERATIONS + 2, pytest.param(EPOCHS * ITERATIONS, marks=pytest.mark.slow)]
)
def test_killed_and_resumed_equals_uninterrupted(finished, tmp_path, call):
    """In the second epoch and in the last one's last step."""
    work_dir = tmp_path / 'killed'
    log = tmp_path / 'first.log'
    run = start_tool(TRAIN, *arguments(work_dir), log=log, kill_at=(LOSS, call))
    assert run.wait() == -signal.SIGKILL, run.output[-3000:]
    assert not (work_dir / 'dssn').exists()
    output = train(work_dir)
    assert 'Epoch(train) [1]' not in output and 'resume' in output.lower()
    ours, theirs = state(finished[0]), state(work_dir)
    assert ours.keys() == theirs.keys()
    assert not [key for key in ours if not torch.equal(ours[key], theirs[key])]
    assert scores(finished[0]) == scores(work_dir)
