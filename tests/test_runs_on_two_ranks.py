"""Two gloo processes run the recipe as one does, and so do eight."""

import json
import shutil
import socket
import sys

import pytest

from tests.killable_tools import run_command, run_tool, start_command
from tests.small_recipe import (
    MADE_BY_THE_LABEL_HOOK,
    assert_same_clusters,
    assert_same_label_maps,
    assert_same_run,
    closing_lines,
    copy_run,
    final_scores,
    finished_run,
    scores_in,
    train,
    train_arguments,
    trainings,
)

TRAIN_ON_RANKS = 'tools/dist_train.sh'


@pytest.fixture(scope='module')
def finished():
    return finished_run()


@pytest.mark.parametrize(
    'ranks, share',
    # Six shards of 8 images: two of the eight ranks have none.
    [(2, '24/24'), pytest.param(8, '8/8', marks=pytest.mark.slow)],
)
def test_label_maps_do_not_depend_on_the_number_of_ranks(finished, tmp_path, ranks, share):
    work_dir = copy_run(finished, tmp_path / 'run')
    for name in MADE_BY_THE_LABEL_HOOK:
        shutil.rmtree(work_dir / name)
    launch = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--nproc_per_node',
        ranks,
        '--master_port',
        free_port(),
    ]
    recipe, *arguments = train_arguments(work_dir)
    script = ['tools/generate_pseudo_labels.py', recipe, '--launcher', 'pytorch']
    output = run_command(*launch, *script, *arguments, log=tmp_path / 'log')
    assert f'features: {share}' in output
    assert_same_clusters(finished, work_dir)
    assert_same_label_maps(finished, work_dir)


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
    # Nor does one rank train again what two have trained.
    assert not trainings(train(work_dir, **batches))
    # Killed and restarted, two ranks get there again.
    recipe, *arguments = train_arguments(tmp_path / 'killed', **batches)
    command = ['bash', TRAIN_ON_RANKS, recipe, 2, *arguments]
    run = start_command(*command, log=log, PORT=free_port())
    run.kill_when_exists(tmp_path / 'killed', 'pretrain.partial-*/epoch_1.pth')
    output = run_command(*command, log=log, PORT=free_port())
    assert trainings(output)[0] == ('pretrain', 2)
    assert_same_run(work_dir, tmp_path / 'killed')


@pytest.mark.slow
def test_eight_ranks_train_all_stages_and_score_as_one(tmp_path):
    batches = dict(batch_size=2, finetune_batch_size=2)  # on each rank
    work_dir, log = tmp_path / 'run', tmp_path / 'log'
    recipe, *arguments = train_arguments(work_dir, **batches)
    run_command('bash', TRAIN_ON_RANKS, recipe, 8, *arguments, log=log, PORT=free_port())
    run_tool('tools/test.py', recipe, '--work-dir', work_dir, log=log)
    assert scores_in(work_dir / 'finetune_test/evaluation') == final_scores(work_dir)


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])
