"""Mistakes are named in one line, in seconds, before anything trains."""

import pytest

from tests.small_recipe import start_training

MISTAKES = {
    'a misspelt setting': (
        dict(num_catgories=7),
        "no such setting: 'num_catgories'; did you mean 'num_categories'?",
    ),
    'a misspelt key of a stage': (
        dict(stages__pretrain__train_cfgg__max_epochs=3),
        "stages.pretrain.train_cfgg: mmengine has no such key; did you mean 'train_cfg'?",
    ),
    'a misspelt argument': (
        dict(pass_pretrainer__queue_lenght=3),
        'stages.pretrain.model.queue_lenght: PASSPretrainer takes no such argument; did you mean '
        "'queue_length'?",
    ),
    'an argument inside of a setting': (
        dict(stages__pretrain__model__queue_length=3),
        '--cfg-options stages.pretrain.model.queue_length: does not fit the config '
        '(stages.pretrain.model is ${pass_pretrainer if pretraining == "pass" else '
        'contrastive_pretrainer}: set pass_pretrainer.queue_length or '
        'contrastive_pretrainer.queue_length instead)',
    ),
    'an unknown stage': (
        dict(stage_order='data,pretrian'),
        "stage_order names 'pretrian', which stages lacks; did you mean 'pretrain'?",
    ),
    'an option of a misspelt stage': (
        dict(stages__pretrian__model__queue_length=3),
        "stages.pretrian has neither a train_dataloader nor a task; did you mean 'pretrain'?",
    ),
    'many clusters': (
        dict(num_categories=49),
        'stages.finetune.custom_hooks: ClusterHook: 48 training images cannot form 49 '
        'clusters. Set a smaller num_categories.',
    ),
    'no data': (
        dict(data_root='/nowhere', stage_order='pretrain,attention,finetune'),
        'stages.pretrain.train_dataloader: data_root=/nowhere: no such folder.',
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_named_before_any_training(name, tmp_path):
    options, message = MISTAKES[name]
    run = start_training(tmp_path / 'run', **options)
    assert run.wait() == 1
    assert f'error: {message}' in run.output.splitlines()
    assert 'Traceback' not in run.output and 'Epoch(' not in run.output
    assert not list((tmp_path / 'run').glob('pretrain*'))
