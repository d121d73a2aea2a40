"""The switches of PDSO's recipes do what they say; its numbers: test_published.py."""

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import HOOKS, MODELS

from tests.test_configs import CONFIGS, hook, load_recipe, trainings


def stages_of(name, **options):
    return trainings(load_recipe(CONFIGS / 'luss' / f'{name}.py', **options))


def test_uo_sam_is_a_setting_with_its_authors_numbers():
    stage = stages_of('pdso_s50', label_refinement='uo_sam')['finetune']
    transform = hook(stage, 'PseudoLabelHook')['label_transform']
    assert transform['type'] == 'OrganizePseudoLabel'
    assert (transform['min_share'], transform['min_overlap']) == (0.1, 0.4)
    assert transform['points_per_side'] == 64
    assert transform['segmenter']['type'] == 'SAMSegmenter'
    plain = stages_of('pdso_s50', label_refinement='uo_sam', use_spo=False)['finetune']
    assert hook(plain, 'PseudoLabelHook')['label_transform']['segmenter'] is None


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


def test_square_images_are_seen_whole_by_the_classifiers():
    stages = stages_of('pdso_s50', square_resize=True)
    for name in ('dff_f', 'dff_g', 'dff_h'):
        pipeline = stages[name]['train_dataloader']['dataset']['pipeline']
        assert pipeline[1] == dict(type='ResizeSquare', side=224)
        assert pipeline[2]['type'] == 'CenterCrop' and pipeline[2]['crop_size'] == 224
    labels = hook(stages['finetune'], 'PseudoLabelHook')
    (square,) = [t for t in labels['label_dataset']['pipeline'] if 'Resize' in t['type']]
    assert square == dict(type='ResizeSquare', side=256)
    embedded = labels['source']['dataset']['pipeline']
    assert [t['type'] for t in embedded[1:3]] == ['ResizeSquare', 'CenterCrop']


def test_the_epoch_of_g_that_labels_is_a_setting():
    assert 'epoch' not in hook(stages_of('pdso_s50')['dff_g'], 'DFFHook')
    assert hook(stages_of('pdso_s50', relabel_epoch=36)['dff_g'], 'DFFHook')['epoch'] == 36


@pytest.mark.parametrize('width, millions', [(1, 23.5), (2, 93.9), (4, 375.4), (5, 586.5)])
def test_wide_resnets_of_pass(width, millions, mmseg_scope):
    wide = Config.fromfile(CONFIGS / '_base_/models/resnet50_wide.py')
    settings = {k: wide[k] for k in ('backbone', 'feature_channels')}
    stage = stages_of('pass_s300', width=width, **settings)['pretrain']
    with torch.device('meta'):
        backbone = MODELS.build(stage['model']['backbone'])
    found = sum(parameter.numel() for parameter in backbone.parameters())
    assert round(found / 1e6, 1) == millions
    assert stage['model']['head']['in_channels'] == 2048 * width
    assert stage['model']['deep_to_shallow'][0]['in_channels'] == 1024 * width
