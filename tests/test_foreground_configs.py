"""Where the foreground comes from in the recipes for photographs, and what is trained for it."""

import pytest

from tests.test_configs import CONFIGS, load_recipe, trainings

MODELS = dict(length='ForegroundModel', attention='PixelAttentionModel', found='FoundModel')
HEADS = dict(length='FeatureLength', attention=None, found='FoundHead')


def recipe(foreground, **options):
    options = dict(data_root='/nowhere', train_split='train', num_categories=3) | options
    path = CONFIGS / 'luss/pdso_photos.py'
    return load_recipe(path, foreground=foreground, evaluate=False, **options)


@pytest.mark.parametrize('foreground', MODELS)
@pytest.mark.parametrize(
    'pretrains, options',
    [
        (False, {}),
        (True, dict(continue_pretraining=True)),
        (True, dict(checkpoint=None)),
        (True, dict(checkpoint=None, pretraining='contrastive')),
    ],
)
def test_a_projection_is_trained_where_attention_has_none(foreground, pretrains, options):
    found = recipe(foreground, **options)
    contrasts = 'pretraining' in options
    projects = foreground == 'attention' and (contrasts or not pretrains)
    first = ['pretrain'] * pretrains + ['projection'] * projects
    assert found.stage_order == [*first, 'attention', 'finetune']
    start = found.stage('attention', 'unused')['load_from']
    assert start.endswith(f'/{first[-1]}/final.pth' if first else 'package:efficientnet_lite0')
    if projects:
        stage = found.stage('projection', 'unused')
        begin = '/pretrain/final.pth' if pretrains else 'package:efficientnet_lite0'
        assert stage['load_from'].endswith(begin)
        assert stage['train_cfg']['max_epochs'] == 5


def test_contrastive_pretraining_has_no_prototypes():
    stage = recipe('length', checkpoint=None, pretraining='contrastive').stage('pretrain', 'unused')
    assert stage['model']['type'] == 'ContrastivePretrainer'
    assert 'PrototypesHook' not in {hook['type'] for hook in stage['custom_hooks']}


@pytest.mark.parametrize('foreground', MODELS)
def test_every_foreground_has_its_model_and_classifier(foreground):
    stages = trainings(recipe(foreground, use_dff=True))
    stage = stages['attention']
    assert stage['model']['type'] == MODELS[foreground]
    head = stages['dff_h']['model'].get('foreground') or dict(type=None)
    assert head['type'] == HEADS[foreground]
    (schedule,) = stage['param_scheduler']
    epochs = dict(length=0, attention=20, found=5)[foreground]
    assert stage['train_cfg']['max_epochs'] == epochs
    assert schedule['end'] == (epochs or 20)  # a schedule of no epochs is refused
    pipeline = [t['type'] for t in stage['train_dataloader']['dataset']['pipeline']]
    whole = foreground == 'found'
    assert pipeline[1:] == (
        ['ResizeShortSide', 'CenterCrop', 'PackImage'] if whole else ['MultiCrop']
    )
    hooks = {h['type'] for h in stage['custom_hooks']}
    assert ('SelfTrainingHook' in hooks) == whole
    assert ('PrototypesHook' in hooks) == (foreground == 'attention')
