import pytest
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import nn

from luss_mm.engine.optimizers import LayerDecayConstructor, layer_depths


def small_vit():
    """A ViT of two blocks."""
    arch = dict(embed_dims=4, num_layers=2, num_heads=2, feedforward_channels=4)
    return MODELS.build(
        dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=16, out_type='featmap')
    )


def small_convnext():
    """A ConvNeXt of 1, 2, 1 and 1 blocks."""
    arch = dict(depths=[1, 2, 1, 1], channels=[2, 2, 2, 2])
    return MODELS.build(dict(type='mmpretrain.ConvNeXt', arch=arch, out_indices=[3]))


def small_resnet():
    """A ResNet of 2 + 2 + 2 + 2 blocks."""
    return MODELS.build(dict(type='ResNet', depth=18, base_channels=2, stem_channels=2))


class Segmentor(BaseModel):
    """A backbone under a linear layer."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.decode_head = nn.Conv2d(2, 2, 1)

    def forward(self, inputs):
        raise NotImplementedError


VIT = {
    'backbone.cls_token': 0,
    'backbone.pos_embed': 0,
    'backbone.patch_embed.projection.weight': 0,
    'backbone.layers.0.ln1.weight': 1,
    'backbone.layers.1.ffn.layers.1.bias': 2,
    'backbone.ln1.weight': 3,
    'decode_head.weight': 3,
}
# As ImageNetSegModel counts: blocks before a stage + the stage for its downsampling.
CONVNEXT = {
    'backbone.downsample_layers.0.0.weight': 0,
    'backbone.downsample_layers.0.1.bias': 0,
    'backbone.stages.0.0.gamma': 1,
    'backbone.downsample_layers.1.0.weight': 1 + 1,
    'backbone.stages.1.1.depthwise_conv.weight': 1 + 1 + 2,
    'backbone.downsample_layers.2.1.weight': 3 + 2,
    'backbone.downsample_layers.3.1.weight': 4 + 3,
    'backbone.stages.3.0.norm.weight': 8,
    'backbone.norm3.weight': 5 + 4,
    'decode_head.bias': 9,
}
RESNET = {
    'backbone.conv1.weight': 0,
    'backbone.bn1.weight': 0,
    'backbone.layer1.0.conv1.weight': 1,
    'backbone.layer2.0.downsample.0.weight': 3,
    'backbone.layer4.1.bn2.bias': 8,
    'decode_head.weight': 9,
}


@pytest.mark.parametrize(
    'build, depths', [(small_vit, VIT), (small_convnext, CONVNEXT), (small_resnet, RESNET)]
)
def test_depths(build, depths, mmseg_scope):
    names = [name for name, _ in Segmentor(build()).named_parameters()]
    found = layer_depths(names)
    assert {name: found[name] for name in depths} == depths
    assert layer_depths(reversed(names)) == found


def test_unknown_backbones_are_refused():
    with pytest.raises(ValueError, match='knows the blocks of'):
        layer_depths(['backbone.weird.0.weight', 'decode_head.weight'])


def build_optimizer(model, **paramwise):
    return LayerDecayConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05)),
        dict(layer_decay=0.5, searched={}) | paramwise,
    )(model).optimizer


def rates_of(optimizer, model):
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }


def test_rates_and_weight_decay(mmseg_scope):
    model = Segmentor(small_vit())
    model.backbone.layers[0].ln2.weight.requires_grad_(False)
    rates = rates_of(build_optimizer(model), model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(rates) == trained
    for name, depth in VIT.items():
        assert rates[name][0] == pytest.approx(0.1 * 0.5 ** (3 - depth)), name
    for name, (_, weight_decay) in rates.items():
        flat = model.get_parameter(name).ndim == 1
        is_token = name in ('backbone.cls_token', 'backbone.pos_embed')
        assert weight_decay == (0 if flat or is_token else 0.05), name


@pytest.mark.parametrize(
    'paramwise',
    [dict(decay=0.5), dict(layer_decay=0.5), dict(layer_decay=0.5, searched=dict(decay=0.9))],
)
def test_misspelt_settings_are_named(paramwise):
    optimizer = dict(optimizer=dict(type='AdamW', lr=0.1))
    with pytest.raises(ValueError, match='has layer_decay and'):
        LayerDecayConstructor(optimizer, paramwise)
