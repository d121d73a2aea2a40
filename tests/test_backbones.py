"""Every backbone of the recipes, tiny, through PASS or PDSO, pretrained here or elsewhere."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from luss_mm.checkpoints.conversion import convert_checkpoint
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.recipes.recipe import Recipe
from tests.conftest import slow_but
from tests.published_self_supervised import small_published_weights
from tests.test_configs import CONFIGS
from tests.tiny_layout import write_image, write_label_map

TINY_VIT = dict(
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=64),
    img_size=32,
    patch_size=8,
    out_indices=[0, 1],
)
# What a backbone of full size is shrunk to, and the settings that follow from it.
TINY = dict(
    resnet50=(dict(base_channels=4, stem_channels=4), dict(feature_channels=128)),
    swin_tiny=(
        dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=3),
        dict(feature_channels=64),
    ),
    convnext_tiny=(
        dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64])),
        dict(feature_channels=64),
    ),
    mit_b0=(
        dict(embed_dims=8, num_layers=[1, 1, 1, 1]),
        dict(feature_channels=64, shallow_channels=40, output_channels=[8, 16, 40, 64]),
    ),
    vit_small=(TINY_VIT, {'feature_channels': 16, 'in_index': 1, 'shallow_heads.0.in_index': 0}),
    dinov2_small=(TINY_VIT, {'feature_channels': 16, 'in_index': 1}),
)
PRETRAINED_HERE = [name for name in TINY if name != 'dinov2_small']
PDSO = ('swin_tiny', 'vit_small')  # whose first stages are PASS's; the others go through PASS
# Format of weights from elsewhere: recipe, and what it needs besides.
ELSEWHERE = {
    'dino': ('vit_small', {}),
    'dinov2': ('dinov2_small', {}),
    'mae': ('vit_small', {}),
    'moco-v3-vit': ('vit_small', {'backbone.type': 'mmpretrain.MoCoV3ViT'}),
    'moco-v3-resnet': ('resnet50', {}),
    'swav-resnet': ('resnet50', {}),
}
# Each class of backbones freezes in its own way: one format of each, and its number of stages.
FROZEN = {'dinov2': 2, 'moco-v3-vit': 2, 'swav-resnet': 4}
OPTIONS = {
    'num_categories': 2,
    'resize_side': 48,
    'crop_size': 48,
    'hidden_channels': 16,
    'embedding_channels': 8,
    'num_prototypes': 4,
    'batch_size': 4,
    'label_batch_size': 4,
    'pretrain_views.0.size': 48,
    'pretrain_views.1.size': 32,
    'pretrain_views.1.num': 1,
    'pretrain_epochs': 2,
    'queue_length': 8,
    'queue_start_epoch': 0,
    'frozen_prototype_iters': 1,
    'attention_views.0.size': 48,
    'projection_epochs': 1,
    'attention_epochs': 1,
    'attention_queue_length': 8,
    'kmeans_restarts': 1,
    'dff_f_epochs': 1,
    'dff_f_batch_size': 4,
    'dff_epochs': 1,
    'dff_batch_size': 2,
    'sigma': 0.3,
    'finetune_epochs': 2,
    'pyramid_head.channels': 8,
    'num_workers': 0,
    'amp': False,
}
STAGES = ('pretrain', 'attention', 'finetune')
PASS = dict(use_dff=False, use_csd=False, use_spo=False)
_directory = tempfile.TemporaryDirectory()
ROOT = Path(_directory.name)


@pytest.fixture(autouse=True)
def nothing_beside(monkeypatch):
    """Such a run goes mostly on pictures."""
    monkeypatch.setattr('luss_mm.engine.hooks.results.PicturesHook.after_train', lambda *_: None)


@functools.cache
def data_root():
    """Eight training and two validation images, a bright square each."""
    root, rng = ROOT / 'data', np.random.default_rng(0)
    for split, count in (('train', 4), ('validation', 1)):
        for category, colour in (('a', (250, 40, 40)), ('b', (40, 40, 250))):
            for i in range(count):
                pixels = rng.integers(0, 120, (48, 60, 3))
                pixels[12:36, 15:40] = colour
                write_image(root / split / category / f'{category}{split}{i}.JPEG', pixels)
                labels = np.zeros((48, 60), int)
                labels[12:36, 15:40] = 1 + 'ab'.index(category)
                if split == 'validation':
                    folder = root / 'validation-segmentation' / category
                    write_label_map(folder / f'{category}{split}{i}.png', labels)
    return root


def tiny_config(name, work_dir, **options):
    config = Config.fromfile(CONFIGS / 'luss' / f'pdso_s50_{name}.py')
    backbone, settings = TINY[name]
    config.backbone.update(backbone)
    config.segmenter = dict(type='GrabCutSegmenter')
    config.validation_dataset.type = 'LUSSDataset'
    config.validation_dataset.categories = config.validation_dataset.pop('subset') and 'folders'
    warmup = {} if name == 'resnet50' else dict(pretrain_warmup_epochs=1)
    config.merge_from_dict(OPTIONS | warmup | settings | options)
    config.merge_from_dict(dict(data_root=str(data_root()), work_dir=str(work_dir)))
    config.launcher = 'none'
    return config


def run(name, work_dir, **options):
    """Train a tiny recipe to its end; returns its work directory."""
    StagedRunner(tiny_config(name, work_dir, **options)).train()
    return work_dir


def backbone_of(path):
    state = torch.load(path, weights_only=False)['state_dict']
    return {key: value for key, value in state.items() if key.startswith('backbone.')}


def is_same(first, second, tolerance=0.0):
    """Whether the parameters agree; batch norm's statistics move in frozen networks too."""
    assert first.keys() == second.keys()
    moving = ('running_mean', 'running_var', 'num_batches_tracked')
    keys = [key for key in first if not key.endswith(moving)]
    return all(torch.allclose(first[key], second[key], rtol=0, atol=tolerance) for key in keys)


def assert_scored(work_dir):
    scores = json.loads((work_dir / 'finetune/metrics.json').read_text())['metrics']
    assert 0 <= scores['mIoU'] <= 100
    assert len(list((work_dir / 'pseudo_labels').rglob('*.png'))) == 8


@pytest.mark.parametrize('name', slow_but(PDSO, PRETRAINED_HERE))
def test_pass_or_pdso_from_end_to_end(name, tmp_path):
    head = dict(use_pyramid_head=True) if name in ('swin_tiny', 'mit_b0') else {}
    # mmengine keeps what it made under a directory's name: each run has another.
    work_dir = run(name, tmp_path / name, **({} if name in PDSO else PASS), **head)
    assert_scored(work_dir)
    pretrained, attended, tuned = (backbone_of(work_dir / s / 'final.pth') for s in STAGES)
    assert is_same(pretrained, attended) and not is_same(pretrained, tuned)
    if name in PDSO:
        assert (work_dir / 'csd_clusters/assignment.npy').is_file()
        assert not is_same(attended, backbone_of(work_dir / 'dff_h/final.pth'))


@functools.cache
def weights_from_elsewhere(kind):
    """Converted weights in a published format."""
    torch.save(small_published_weights(kind), ROOT / f'{kind}.pth')
    convert_checkpoint(kind, ROOT / f'{kind}.pth', ROOT / f'{kind}_converted.pth')
    return ROOT / f'{kind}_converted.pth'


@pytest.mark.parametrize('kind', slow_but(['dinov2'], FROZEN))
def test_weights_from_elsewhere_that_stay_frozen(kind, tmp_path):
    file = weights_from_elsewhere(kind)
    name, settings = ELSEWHERE[kind]
    options = {'checkpoint': str(file), 'backbone.frozen_stages': FROZEN[kind]} | PASS
    work_dir = run(name, tmp_path / f'frozen_{kind}', **settings, **options)
    assert_scored(work_dir)
    assert not (work_dir / 'pretrain').exists()
    given = backbone_of(file)
    for stage in ('attention', 'finetune'):
        assert is_same(given, backbone_of(work_dir / stage / 'final.pth')), stage
    projected = backbone_of(work_dir / 'projection/final.pth')
    assert all(torch.equal(projected[key], value) for key, value in given.items())
    first, second = (
        torch.load(work_dir / stage / 'final.pth', weights_only=False)['state_dict']
        for stage in ('projection', 'attention')
    )
    learnt = [key for key in first if key.startswith('head.projection') and 'weight' in key]
    assert learnt and all(torch.equal(first[key], second[key]) for key in learnt)


def test_pretraining_goes_on_from_weights_from_elsewhere(tmp_path):
    file = weights_from_elsewhere('dino')
    options = dict(checkpoint=str(file), continue_pretraining=True, pretrain_lr=1e-7)
    config = tiny_config('vit_small', tmp_path / 'continued', stage_order=['pretrain'], **options)
    StagedRunner(config).train()
    trained = backbone_of(tmp_path / 'continued/pretrain/final.pth')
    assert is_same(backbone_of(file), trained, tolerance=1e-5)
    assert not is_same(backbone_of(file), trained)
    recipe = Recipe(tiny_config('vit_small', tmp_path, **options))
    assert recipe.stage_order[:2] == ['pretrain', 'attention']
    assert recipe.stage('attention', 'unused')['load_from'].endswith('/pretrain/final.pth')


@pytest.mark.parametrize('name', PRETRAINED_HERE)
def test_parameters_that_a_stage_leaves_idle_are_announced(name, mmseg_scope):
    """DistributedDataParallel fails on a parameter without a gradient unless it was told."""
    recipe = Recipe(tiny_config(name, ROOT / 'unused', evaluate=False))
    idle = False
    for stage in ('pretrain', 'dff_f', 'dff_h', 'finetune'):
        model = MODELS.build(recipe.stage(stage, 'unused')['model']).train()
        backbone = model.backbone
        maps = backbone(torch.randn(2, 3, 64, 64))
        read = [3, 2] if stage == 'pretrain' else [3]
        if name == 'vit_small':
            read = [index - 2 for index in read]
        sum(maps[index].square().mean() for index in read).backward()
        idle |= any(p.grad is None for p in backbone.parameters())
    config = recipe.stage('pretrain', 'unused')
    assert config.get('find_unused_parameters', False) == idle
