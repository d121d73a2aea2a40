"""Networks of the published recipes have as many parameters as the originals, counted by hand.

Backbones are counted on torchvision's and timm's networks, which the originals are or derive from;
heads by their layers, as the originals' sources have them.
"""

import pytest
import timm
import torch
import torchvision
from mmseg.registry import MODELS

from tests.test_configs import CONFIGS, load_recipe, trainings


def counted(network):
    return sum(parameter.numel() for parameter in network.parameters())


def linear(inputs, outputs, bias=True):
    return inputs * outputs + bias * outputs


def norm(channels):
    return 2 * channels


def mlp(inputs, hidden, outputs, layers, bias):
    """Layers with norms between them; the last norm has no parameters."""
    sizes = [inputs, *[hidden] * (layers - 1), outputs]
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return sum(linear(*p, bias) for p in pairs) + (layers - 1) * norm(hidden)


def without(network, *heads):
    for head in heads:
        setattr(network, head, torch.nn.Identity())
    return counted(network)


def resnet(depth):
    return without(getattr(torchvision.models, f'resnet{depth}')(), 'fc')


def deep_stem_resnet(depth):
    """Three convolutions of 3 x 3 to 64, 64 and 128 channels for one of 7 x 7 to 64."""
    plain_stem = 3 * 64 * 49 + norm(64)
    stem = 9 * (3 * 64 + 64 * 64 + 64 * 128) + norm(64) + norm(64) + norm(128)
    wider_inputs = 64 * (64 + 256)  # of the first block and its shortcut
    return resnet(depth) - plain_stem + stem + wider_inputs


def vit(size):
    return without(timm.create_model(f'vit_{size}_patch16_224'), 'head')


def convnext():
    return without(torchvision.models.convnext_tiny(), 'classifier') + norm(768)


def pass_pretrainer(depth, hidden, prototypes):
    deep = 512 if depth == 18 else 2048
    shallow = deep // 2
    image = mlp(deep, hidden, 128, 2, True) + 128 * prototypes
    adapter = mlp(shallow, hidden, shallow, 3, False) + mlp(shallow, hidden, 128, 2, True)
    pixel = mlp(deep, hidden, 128, 3, False)
    predictor = linear(128, 128, False) + norm(128) + linear(128, 128)
    return resnet(depth) + image + adapter + pixel + predictor


def pass_attention(depth, hidden, prototypes):
    """Ours lacks the two biases before batch norm, which change nothing."""
    deep = 512 if depth == 18 else 2048
    gates = 2 * (linear(deep, deep, False) + norm(deep)) + deep
    return resnet(depth) + mlp(deep, hidden, 128, 2, True) + 128 * prototypes + gates


def deeplab_head(classes, shallow_kernel):
    def layer(inputs, outputs, kernel):
        return inputs * outputs * kernel**2 + norm(outputs)

    rates = layer(2048, 256, 1) + 3 * layer(2048, 256, 3) + layer(2048, 256, 1)
    fused = layer(256 + 48, 256, 3) + layer(256, 256, 3)
    joined = layer(5 * 256, 256, 1) + layer(256, 48, shallow_kernel)
    return rates + joined + fused + linear(256, classes)


def xception():
    return without(timm.create_model('xception65', features_only=False), 'head')


def small_fcn(width, classes):
    return 9 * 2 * width * width + norm(width) + linear(width, classes)


COUNTS = {  # recipe and stage: the original's count
    ('luss/pass_s50', 'pretrain'): lambda: pass_pretrainer(18, 512, 500),
    ('luss/pass_s50', 'attention'): lambda: pass_attention(18, 512, 500),
    ('luss/pass_s50', 'finetune'): lambda: resnet(18) + linear(512, 51),
    ('luss/pass_s919', 'pretrain'): lambda: pass_pretrainer(50, 2048, 3000),
    ('luss/pass_s919', 'attention'): lambda: pass_attention(50, 2048, 3000),
    ('luss/pass_s919', 'finetune'): lambda: resnet(50) + linear(2048, 920),
    ('imagenet_s/mae_vit_base_ssl', 'finetune'): lambda: vit('base') + linear(768, 920),
    ('imagenet_s/sere_vit_small_ssl', 'finetune'): lambda: vit('small') + linear(384, 920),
    ('imagenet_s/mae_vit_base_ssl_3600', 'finetune'): lambda: vit('base') + small_fcn(768, 920),
    ('imagenet_s/sere_vit_small_ssl_3600', 'finetune'): lambda: vit('small') + small_fcn(384, 920),
    ('imagenet_s/pass_resnet50_d16', 'finetune'): lambda: resnet(50) + linear(2048, 920),
    ('imagenet_s/convnext_tiny', 'finetune'): lambda: convnext() + linear(768, 920 * 16),
    ('semi/dssn_voc_resnet50', 'student'): lambda: deep_stem_resnet(50) + deeplab_head(21, 1),
    ('semi/dssn_voc_resnet101', 'student'): lambda: deep_stem_resnet(101) + deeplab_head(21, 1),
    ('semi/dssn_cityscapes_resnet50', 'student'): lambda: (
        deep_stem_resnet(50) + deeplab_head(19, 1)
    ),
    ('semi/dssn_voc_xception65', 'student'): lambda: xception() + deeplab_head(21, 1),
    ('semi/pct_voc_resnet101', 'retrain'): lambda: deep_stem_resnet(101) + deeplab_head(21, 3),
}


@pytest.mark.parametrize('recipe, stage', COUNTS)
def test_as_many_parameters_as_the_original(recipe, stage, mmseg_scope):
    stages = trainings(load_recipe(CONFIGS / f'{recipe}.py'))
    config = stages['dssn']['model']['segmentor'] if stage == 'student' else stages[stage]['model']
    with torch.device('meta'):
        expected = COUNTS[recipe, stage]()
    with torch.device('cpu' if 'convnext' in recipe else 'meta'):  # it asks for drop rates
        assert counted(MODELS.build(config)) == expected
