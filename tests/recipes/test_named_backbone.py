"""A backbone by its name: the settings that follow, and one line where it does not fit."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image

from luss_mm.checkpoints.loading import CheckpointError, load_backbone, load_checkpoint
from luss_mm.engine.hooks import PretrainedWeightsHook
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.packaged_weights import checkpoint_file
from luss_mm.pipeline.rendered_images import RenderTinyShapes
from luss_mm.recipes.config_check import check_features
from luss_mm.recipes.named_backbone import look_at_backbone
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from tests.test_backbones import nothing_beside as nothing_beside
from tests.test_configs import CONFIGS

timm = pytest.importorskip('timm')
# Networks of timm at a tiny width under names of our own.
TINY = {
    'tiny_dinov2': (
        'vit_small_patch14_dinov2',
        dict(embed_dim=32, depth=4, num_heads=2, img_size=56),
    ),
    'tiny_dinov3': ('vit_small_patch16_dinov3', dict(embed_dim=32, depth=4, num_heads=2)),
    'tiny_convnext': ('convnext_tiny', dict(dims=(8, 16, 24, 32), depths=(1, 1, 1, 1))),
    'tiny_resnet': ('resnet18', dict(channels=(8, 16, 24, 32))),
    'tiny_swin': (
        'swin_tiny_patch4_window7_224',
        dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
    ),
    'tiny_beit': ('beit_base_patch16_224', dict(embed_dim=32, depth=4, num_heads=2)),
}
PYRAMID = dict(strides=[8, 16, 32], sizes={})
GRIDS = {
    'tiny_dinov2': dict(
        strides=[14] * 4,
        sizes={'crop_size': 56, 'resize_side': 56, 'attention_views.0.size': 56},
    ),
    'tiny_dinov3': dict(strides=[16] * 4, sizes={}),
}
CASES = GRIDS | dict(tiny_convnext=PYRAMID, tiny_resnet=PYRAMID)


@pytest.fixture(scope='module', autouse=True)
def tiny_networks():
    for name, (full, width) in TINY.items():

        def entrypoint(pretrained=False, full=full, width=width, **options):
            return timm.create_model(full, pretrained=False, **width, **options)

        entrypoint.__name__ = name
        entrypoint.__module__ = 'timm.models.vision_transformer'
        timm.models.register_model(entrypoint)


def recipe_of(name, tmp_path, **settings):
    folder = tmp_path / 'photos'
    folder.mkdir(exist_ok=True)
    Image.new('RGB', (20, 20)).save(folder / 'a.png')
    config = Config.fromfile(CONFIGS / 'luss' / f'{name}.py')
    config.merge_from_dict(
        dict(data_root=str(folder), work_dir=str(tmp_path / 'run'), num_categories=3)
        | dict(checkpoint=str(tmp_path / 'weights.pth'))
        | settings
    )
    config.launcher = 'none'
    return Recipe(config)


@pytest.mark.parametrize('recipe', ['pass_photos', 'pdso_photos'])
@pytest.mark.parametrize('name', CASES)
def test_all_stages_of_the_recipes_fit(name, recipe, tmp_path):
    """In every stage, heads fit the maps, and an image becomes logits of each category."""
    case = CASES[name]
    resolved = recipe_of(recipe, tmp_path, backbone=f'timm:{name}', **case['sizes'])
    values = resolved.settings.values
    assert values['map_strides'] == case['strides'] and values['feature_channels'] == 32
    assert values['foreground'] == ('attention' if name in GRIDS else 'length')
    assert ('projection' in resolved.stage_order) == (name in GRIDS)
    stages = {stage: resolved.stage(stage, 'unused') for stage in resolved.stage_order}
    check_features(stages)
    with DefaultScope.overwrite_default_scope('mmseg'), torch.no_grad():
        model = MODELS.build(stages['finetune']['model']).eval()
        logits = model(torch.randn(1, 3, 56, 90), mode='tensor')
    assert logits.shape[:2] == (1, 4)


@pytest.mark.parametrize(
    'name, channels',
    [
        ('mmpretrain:ConvNeXt-atto', [40, 80, 160, 320]),
        ('mmseg:ResNet-18', [64, 128, 256, 512]),
        ('MSCAN', [64, 128, 256, 512]),
    ],
)
def test_registered_types(name, channels):
    settings = dict(in_index=0, feature_channels=0, output_channels=[], attention_upsample=2)
    found, _ = look_at_backbone(settings | dict(backbone=name))
    assert found['in_index'] == 3 and found['feature_channels'] == channels[-1]
    assert found['output_channels'] == [*channels[:-1], '${feature_channels}']
    assert found['attention_upsample'] == 4


@pytest.mark.parametrize(
    'name, divisor, cells', [('tiny_swin', 4, (9, 17)), ('hrnet_w18_small', 32, (16, 24))]
)
def test_images_are_stretched_for_networks_that_take_multiples_only(name, divisor, cells):
    found, _ = look_at_backbone(dict(backbone=f'timm:{name}', in_index=0))
    assert found['in_index'] == 3 and found['backbone']['size_divisor'] == divisor
    with DefaultScope.overwrite_default_scope('mmseg'), torch.no_grad():
        maps = MODELS.build(found['backbone']).eval()(torch.rand(1, 3, 33, 65))
    assert maps[0].shape[2:] == cells


@pytest.mark.parametrize(
    'name, reason',
    [
        ('timm:tiny_beit', 'images of some sizes only'),
        ('timm:resnet18x', "has no network 'resnet18x'"),
        ('mmpretrain:ConvNext', "did you mean 'ConvNeXt'"),
        ('MSCAN-tiny', 'leave out -tiny'),
        ('mmseg:ResNet-19', 'cannot be built .KeyError: .*19'),
        ('FCNHead', 'cannot be built'),
    ],
)
def test_what_does_not_fit_is_one_line(name, reason):
    with pytest.raises(SettingsError, match=reason) as refusal:
        look_at_backbone(dict(backbone=name, in_index=0))
    assert '\n' not in str(refusal.value) and name in str(refusal.value)


def test_sizes_of_images_that_cut_patches_are_named_with_others(tmp_path):
    fits = 'Set crop_size=252 resize_side=252 attention_views.0.size=56'
    with pytest.raises(SettingsError, match=fits):
        recipe_of('pass_photos', tmp_path, backbone='timm:tiny_dinov2')


def test_weights_of_another_network_are_refused(tmp_path):
    checkpoint = dict(checkpoint='package:efficientnet_lite0')
    with pytest.raises(SettingsError, match='Set checkpoint=timm'):
        recipe_of('pass_photos', tmp_path, backbone='timm:tiny_resnet', **checkpoint)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Files by the name of their repository, in the place of the network."""
    import huggingface_hub

    files = {}

    def download(repository, filename):
        if repository not in files:
            raise OSError('no network\nand more lines')
        assert filename == 'model.safetensors'
        return str(files[repository])

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    return files


def test_weights_that_timm_publishes(hub, tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match=r'\(no network\). Convert'):
        checkpoint_file('timm:resnet18.a1_in1k')
    found = recipe_of('pass_photos', tmp_path, backbone='timm:resnet18', checkpoint='timm')
    settings = found.settings.values
    assert settings['checkpoint'] == 'timm:resnet18.a1_in1k'
    assert settings['image_mean'] == [123.675, 116.28, 103.53]
    assert any('resnet18' in line for line in found.labels_used('attention'))
    theirs = timm.create_model('resnet18', pretrained=False)
    for name in ('convnext_atto.d2_in1k', 'vit_tiny_patch16_224.augreg_in21k_ft_in1k'):
        hub[f'timm/{name}'] = tmp_path / f'{name}.safetensors'
        published = timm.create_model(name, pretrained=False).state_dict()
        save_file(published, hub[f'timm/{name}'])
        network, _ = look_at_backbone(dict(backbone=f'timm:{name.partition(".")[0]}', in_index=0))
        with DefaultScope.overwrite_default_scope('mmseg'):
            load_backbone(MODELS.build(network['backbone']), f'timm:{name}')
    hub['timm/resnet18.a1_in1k'] = tmp_path / 'model.safetensors'
    save_file(theirs.state_dict(), tmp_path / 'model.safetensors')
    PretrainedWeightsHook(files=dict(checkpoint=settings['checkpoint'])).check()
    with DefaultScope.overwrite_default_scope('mmseg'):
        backbone = MODELS.build(settings['backbone'])
    load_backbone(backbone, settings['checkpoint'])  # strict
    assert torch.equal(backbone.network.conv1.weight, theirs.conv1.weight)
    save_file({'conv1.weight': torch.zeros(1)}, tmp_path / 'model.safetensors')
    with pytest.raises(CheckpointError, match='not the weights of resnet18'):
        load_checkpoint('timm:resnet18.a1_in1k')


def test_timm_weights_need_a_network_of_timm(tmp_path):
    with pytest.raises(SettingsError, match='set backbone=timm:NETWORK'):
        recipe_of('pass_photos', tmp_path, backbone='mmseg:ResNet-18', checkpoint='timm')


def test_a_transformer_from_end_to_end(tmp_path, nothing_beside):
    """Photographs of no whole number of patches, gates learnt through a trained projection."""
    RenderTinyShapes(8, 1, image_size=60)(tmp_path / 'shapes')
    with DefaultScope.overwrite_default_scope('mmseg'):
        backbone = MODELS.build(
            dict(type='TIMMFeatureMaps', model_name='tiny_dinov2', out_indices=[3])
        )
    state = {f'backbone.{key}': weight for key, weight in backbone.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
    config = Config.fromfile(CONFIGS / 'luss/pass_photos.py')
    small = dict(batch_size=4, finetune_batch_size=4, projection_epochs=1, attention_epochs=1)
    small |= dict(finetune_epochs=1, num_workers=0, kmeans_restarts=2, num_prototypes=4)
    config.merge_from_dict(
        small
        | dict(queue_length=8, attention_queue_length=8, num_categories=3)
        | dict(data_root=str(tmp_path / 'shapes/train'), work_dir=str(tmp_path / 'run'))
        | dict(backbone='timm:tiny_dinov2', checkpoint=str(tmp_path / 'weights.pth'))
        | GRIDS['tiny_dinov2']['sizes']
    )
    config.launcher = 'none'
    StagedRunner(config).train()
    assert len(list((tmp_path / 'run/pseudo_labels').rglob('*.png'))) == 8
    image = next((tmp_path / 'shapes/train').rglob('*.JPEG'))
    (labels,) = LUSSInferencer(tmp_path / 'run', device='cpu')(image)['predictions']
    assert labels.shape == (60, 60) and labels.max() <= 3
