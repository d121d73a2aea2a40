"""PDSO's recipes have its published numbers, and their switches do what they say."""

import pytest
from mmseg.registry import HOOKS

from luss_mm.recipes.settings import SettingsError
from tests.test_configs import CONFIGS, hook, load_recipe, trainings

RECIPES = ['pdso_s50', 'pdso_s300', 'pdso_s919']


def stages_of(name, **options):
    return trainings(load_recipe(CONFIGS / 'luss' / f'{name}.py', **options))


@pytest.fixture(params=RECIPES)
def stages(request):
    return stages_of(request.param)


def test_published_classifiers(stages):
    expected = dict(dff_f=(15, 64), dff_g=(50, 32), dff_h=(50, 32))
    for name, (epochs, batch_size) in expected.items():
        stage = stages[name]
        assert stage['load_from'].endswith('/attention/final.pth')
        assert stage['train_cfg']['max_epochs'] == epochs
        assert stage['train_dataloader']['batch_size'] == batch_size
        optimizer = stage['optim_wrapper']['optimizer']
        assert optimizer == dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-6)
        (schedule,) = stage['param_scheduler']
        assert schedule['eta_min'] == 0.0006 and schedule['T_max'] == epochs
        transforms = [t['type'] for t in stage['train_dataloader']['dataset']['pipeline']]
        assert transforms == ['LoadBoundedImage', 'ResizeShortSide', 'CenterCrop', 'PackImage']
        assert stage['train_dataloader']['dataset']['pipeline'][2]['crop_size'] == 224
    models = [stages[name]['model']['type'] for name in expected]
    assert models == ['ImageClassifier', 'ImageClassifier', 'AttendedClassifier']


def test_published_selection_and_labels(stages):
    scoring = hook(stages['dff_f'], 'DFFHook')
    assert (scoring['labels'], scoring['loss_labels']) == ('given', 'given')
    scoring = hook(stages['dff_g'], 'DFFHook')
    assert scoring['labels'] == 'predicted' and scoring['flip_average']
    for name in ('dff_g', 'dff_h'):
        assert stages[name]['train_dataloader']['dataset']['small_loss'] == dict(rule='mean')
    denoising = hook(stages['finetune'], 'CSDHook')
    assert (denoising['rule'], denoising['keep_fraction']) == ('margin', 0.665)
    transform = hook(stages['finetune'], 'PseudoLabelHook')['label_transform']
    assert transform['sigma'] == 0.8 and transform['min_area'] == 0
    segmenter = transform['segmenter']
    assert (segmenter['type'], segmenter['model_type']) == ('SAMSegmenter', 'vit_b')


@pytest.mark.parametrize('dff', [True, False])
@pytest.mark.parametrize('csd', [True, False])
@pytest.mark.parametrize('spo', [True, False])
def test_parts_are_independent(dff, csd, spo):
    stages = stages_of('pdso_s50', use_dff=dff, use_csd=csd, use_spo=spo)
    assert ('dff_h' in stages) == ('dff_f' in stages) == dff
    hooks = {h['type']: h for h in stages['finetune']['custom_hooks']}
    assert ('CSDHook' in hooks, 'ClusterHook' in hooks) == (csd, not csd)
    labels = hooks['PseudoLabelHook']
    made = hooks['CSDHook']['denoised'] if csd else hooks['ClusterHook']['clusters']
    assert labels['clusters'] == made
    assert labels['features'] == ('dff_features' if dff else 'features')
    source = 'dff_h' if dff else 'attention'
    assert labels['source']['checkpoint'].endswith(f'/{source}/final.pth')
    assert hooks['PicturesHook']['clusters'] == made
    assert bool(labels['label_transform']['segmenter']) == spo
    loads = [t['type'] for t in labels['label_dataset']['pipeline']]
    assert ('KeepLoadedImage' in loads) == spo


def test_without_its_parts_pdso_is_pass():
    stages = stages_of('pdso_s50', use_dff=False, use_csd=False, use_spo=False, pretrain_epochs=200)
    plain = stages_of('pass_s50')
    assert stages['pretrain'] == plain['pretrain'] and stages['attention'] == plain['attention']
    ours, theirs = (hook(s['finetune'], 'PseudoLabelHook') for s in (stages, plain))
    # sigma acts only with a segmenter
    assert dict(ours, label_transform=0) == dict(theirs, label_transform=0)


def test_a_missing_sam_is_refused_before_anything_runs(tmp_path):
    stages = stages_of('pdso_s50', **{'segmenter.checkpoint': str(tmp_path / 'sam.pth')})
    labels = HOOKS.build(hook(stages['finetune'], 'PseudoLabelHook'))
    with pytest.raises(ValueError, match=r'sam\.pth'):
        labels.check()


def test_a_misspelt_switch_is_named():
    with pytest.raises(SettingsError, match="'use_cds'; did you mean 'use_csd'"):
        stages_of('pdso_s50', use_cds=False)
