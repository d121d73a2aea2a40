import pytest
import torch
import torchvision
from mmseg.registry import MODELS
from torch.nn import functional as F

from luss_mm.checkpoints.conversion import convert_checkpoint
from luss_mm.checkpoints.loading import load_checkpoint, load_weights
from tests.published_networks import (
    CONVNEXT_ARCH,
    PublishedConvNeXt,
    PublishedPASS,
    PublishedViT,
    mae_extras,
    randomise,
    residual_block,
    sere_extras,
    torchvision_convnext,
)

SMALL_RESNET = dict(
    type='ResNet', depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1, 2, 3)
)
PROTOTYPE_HEAD = dict(type='PrototypeHead', in_channels=64, hidden_channels=12, num_prototypes=7)
PIXEL_HEAD = dict(type='PixelToPixelHead', in_channels=64, hidden_channels=12)
SMALL_VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=8,
    out_type='featmap',
)
SMALL_CONVNEXT = dict(
    type='mmpretrain.ConvNeXt', arch=CONVNEXT_ARCH, out_indices=(3,), gap_before_final_norm=False
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(size=64):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def converted(kind, content, tmp_path, **options):
    torch.save(content, tmp_path / 'source.pth')
    result = convert_checkpoint(kind, tmp_path / 'source.pth', tmp_path / 'target.pth', **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['source.pth', 'target.pth']
    return result


def backbone_with(path, config):
    """A backbone that got all of its weights from a checkpoint, as init_cfg would load them."""
    backbone = MODELS.build(config)
    state = load_checkpoint(path)['state_dict']
    own = {key.removeprefix('backbone.'): tensor for key, tensor in state.items()}
    backbone.load_state_dict(own, strict=True)
    backbone.eval()  # returns nothing
    return backbone


def written_back(kind, tmp_path):
    """Weights of the target in the format of its authors, without the entry that holds them."""
    convert_checkpoint(kind, tmp_path / 'target.pth', tmp_path / 'back.pth', backwards=True)
    content = load_checkpoint(tmp_path / 'back.pth')
    return next(iter(content.values())) if len(content) == 1 else content


def assert_same_weights(actual, expected):
    assert actual.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(actual[key], tensor), key


def assert_same(actual, expected):
    assert expected.std() > 0.01  # a dead network would equal anything
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('depth', [18, 50])
def test_torchvision_resnet(tmp_path, depth):
    theirs = getattr(torchvision.models, f'resnet{depth}')().eval()
    for norm in theirs.modules():  # weights are drawn by torchvision, statistics are not
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.7, 1.5)
            norm.weight.uniform_(0.3, 0.9)
            norm.bias.uniform_(-0.3, 0.3)
    result = converted('torchvision-resnet', theirs.state_dict(), tmp_path)
    assert set(result.dropped) == {'fc.weight', 'fc.bias'}
    backbone = backbone_with(tmp_path / 'target.pth', dict(type='ResNet', depth=depth))
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images()))))
    for stage, actual in enumerate(backbone(images())):
        x = getattr(theirs, f'layer{stage + 1}')(x)
        assert_same(actual, x)
    back = written_back('torchvision-resnet', tmp_path)
    missing, unexpected = theirs.load_state_dict(back, strict=False)
    assert missing == ['fc.weight', 'fc.bias'] and not unexpected


class DeepStem(torch.nn.Module):
    """A ResNet-18 that begins with three convolutions of 3x3, the last of twice its width."""

    def __init__(self, width=8):
        super().__init__()
        layers = []
        for before, after, stride in ((3, width, 2), (width, width, 1), (width, 2 * width, 1)):
            conv = torch.nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
            layers += [conv, torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
        self.conv1, self.bn1 = torch.nn.Sequential(*layers[:7]), layers[7]
        for stage in range(4):
            before = 2 * width if stage == 0 else width * 2 ** (stage - 1)
            first = residual_block(before, width * 2**stage, stage > 0)
            if stage == 0:
                shortcut = torch.nn.Conv2d(before, width, 1, bias=False)
                first.downsample = torch.nn.Sequential(shortcut, torch.nn.BatchNorm2d(width))
            second = residual_block(width * 2**stage, width * 2**stage, False)
            self.add_module(f'layer{stage + 1}', torch.nn.Sequential(first, second))

    def forward(self, images):
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


@torch.no_grad()
def test_resnet_with_a_stem_of_three_convolutions_and_back(tmp_path):
    theirs = randomise(DeepStem())
    state = theirs.state_dict() | {'fc.weight': torch.rand(2, 64), 'fc.bias': torch.rand(2)}
    assert set(converted('deep-stem-resnet', state, tmp_path).dropped) == {'fc.weight', 'fc.bias'}
    network = dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=16)
    (*_, deep) = backbone_with(tmp_path / 'target.pth', network)(images())
    assert_same(deep, theirs(images()))
    assert_same_weights(written_back('deep-stem-resnet', tmp_path), theirs.state_dict())


@torch.no_grad()
@pytest.mark.parametrize(
    'kind, norm, wrap, extras',
    [
        ('mae', 'norm', lambda state: dict(model=state), mae_extras()),
        ('mae', 'fc_norm', lambda state: dict(model=state, epoch=3), {}),
        ('sere', 'norm', lambda state: dict(state_dict=state), sere_extras()),
        ('dino', 'norm', lambda state: state, {}),
        (
            'dino',
            'norm',
            lambda state: dict(
                student={}, teacher={f'module.backbone.{k}': v for k, v in state.items()}
            ),
            {},
        ),
    ],
)
def test_vision_transformers(tmp_path, kind, norm, wrap, extras):
    theirs = randomise(PublishedViT(norm_name=norm))
    head = {'head.weight': torch.rand(5, 8), 'head.bias': torch.rand(5)}
    result = converted(kind, wrap(theirs.state_dict() | extras | head), tmp_path)
    assert {key.removeprefix('module.backbone.') for key in result.dropped} == {*extras, *head}
    backbone = backbone_with(tmp_path / 'target.pth', SMALL_VIT)
    (actual,) = backbone(images(32))
    assert_same(actual, theirs(images(32)))
    back = {key.replace('fc_norm', 'norm'): tensor for key, tensor in theirs.state_dict().items()}
    assert_same_weights(written_back(kind, tmp_path), back)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['convnext', 'timm-convnext', 'torchvision-convnext'])
def test_convnexts(tmp_path, kind):
    if kind == 'torchvision-convnext':
        theirs = randomise(torchvision_convnext())
        state = theirs.state_dict()
        expected = theirs.classifier[0](theirs.features(images()))
    else:
        theirs = randomise(PublishedConvNeXt(timm=kind == 'timm-convnext'))
        state = theirs.published()
        expected = theirs(images())
    result = converted(kind, state, tmp_path)
    assert len(result.dropped) == 2
    backbone = backbone_with(tmp_path / 'target.pth', SMALL_CONVNEXT)
    (actual,) = backbone(images())
    assert_same(actual, expected)
    kept = {key: tensor for key, tensor in state.items() if key not in result.dropped}
    assert_same_weights(written_back(kind, tmp_path), kept)


def saved_by_pass(network, prefix='module.'):
    state = {f'{prefix}{key}': tensor for key, tensor in network.state_dict().items()}
    return dict(epoch=1, state_dict=state, optimizer=dict(lr=0.6))


@torch.no_grad()
@pytest.mark.parametrize('stages', [(3,), (2, 3)])
def test_pass_pretraining(tmp_path, stages):
    theirs = randomise(PublishedPASS('pretrain', stages=stages))
    result = converted('pass-pretrained', saved_by_pass(theirs), tmp_path)
    assert not result.dropped and result.beside == ('epoch', 'optimizer')
    heads = [
        dict(type='DeepToShallowHead', in_channels=4 * 2**s, hidden_channels=12, in_index=s - 1)
        for s in stages
    ]
    model = MODELS.build(
        dict(
            type='PASSPretrainer',
            backbone=SMALL_RESNET,
            head=PROTOTYPE_HEAD,
            deep_to_shallow=heads,
            pixel_to_pixel=PIXEL_HEAD,
        )
    )
    load_weights(model, tmp_path / 'target.pth')
    model.eval()
    maps = theirs.maps(images())
    for actual, expected in zip(model.backbone(images()), maps, strict=True):
        assert_same(actual, expected)
    embeddings = F.normalize(theirs.projection_head(maps[3].mean((2, 3))), dim=1)
    assert_same(model.head.embed(maps[3].mean((2, 3))), embeddings)
    assert_same(model.head.score(embeddings), theirs.prototypes(embeddings))
    for head, stage in zip(model.shallow_heads, stages, strict=True):
        adapter = theirs.projection_head_pixel_shallow[f'projection_head_pixel{stage}']
        projection = theirs.projection_head_shallow[f'projection_head_shallow{stage}']
        pooled = adapter(maps[stage - 1]).mean((2, 3))
        assert_same(head(maps), F.normalize(projection(pooled), dim=1))
    projected = theirs.projection_head_pixel(maps[3])
    assert_same(model.pixel_head.projector(maps[3]), projected)
    assert_same(model.pixel_head.predictor(projected), theirs.predictor_head_pixel(projected))


@torch.no_grad()
@pytest.mark.parametrize('mode, kind', [('pretrain', 'pretrained'), ('pixelattn', 'attention')])
def test_several_sets_of_prototypes_and_back(tmp_path, mode, kind):
    sizes = [5, 3]
    theirs = randomise(PublishedPASS(mode, prototypes=sizes))
    published = saved_by_pass(theirs)
    state = converted(f'pass-{kind}', published, tmp_path).state
    head = MODELS.build(PROTOTYPE_HEAD | dict(num_prototypes=sizes)).eval()
    named = {k.removeprefix('head.'): v for k, v in state.items() if k.startswith('head.')}
    head.load_state_dict(named, strict=True)
    embeddings = F.normalize(torch.randn(4, 128), dim=1)
    scores = [layer(embeddings) for layer in theirs.prototypes.values()]
    ((first,), (second,)) = head.by_set([head.score(embeddings)])
    assert_same(first, scores[0])
    assert_same(second, scores[1])
    target = tmp_path / 'back.pth'
    convert_checkpoint(f'pass-{kind}', tmp_path / 'target.pth', target, backwards=True)
    back = load_checkpoint(target)['state_dict']
    assert back.keys() == published['state_dict'].keys()
    for key in back:
        if 'prototypes' in key:
            assert torch.equal(back[key], published['state_dict'][key])


@torch.no_grad()
@pytest.mark.parametrize('training', [False, True])
def test_pass_pixel_attention(tmp_path, training):
    """The authors' convolutions have biases, ours do not: folded into the running means."""
    theirs = randomise(PublishedPASS('pixelattn'))
    converted('pass-attention', saved_by_pass(theirs), tmp_path)
    model = MODELS.build(
        dict(
            type='PixelAttentionModel',
            backbone=SMALL_RESNET,
            head=PROTOTYPE_HEAD,
            channels=64,
            upsample=4,
        )
    )
    load_weights(model, tmp_path / 'target.pth')
    model.eval()
    features, gates = model.attend(images())
    (*_, deep) = theirs.maps(images())
    enlarged = F.interpolate(deep, scale_factor=4, mode='bilinear', align_corners=False)
    assert_same(features, enlarged)
    model.attention.train(training)
    theirs.fbg.train(training)
    assert_same(model.attention(deep, features), theirs.gates(enlarged))
    if not training:
        assert_same(gates, theirs.gates(enlarged))
    assert 0.02 < gates.std()


SEGMENTOR = dict(
    type='LUSSSegmentor',
    backbone=SMALL_RESNET,
    decode_head=dict(
        type='FCNHead',
        in_channels=64,
        channels=64,
        num_convs=0,
        concat_input=False,
        num_classes=5,
        in_index=3,
    ),
    test_cfg=dict(mode='whole'),
)


@torch.no_grad()
@pytest.mark.parametrize('prefix', ['module.', ''])
def test_fine_tuned_pass_and_back(tmp_path, prefix):
    theirs = randomise(PublishedPASS('finetune'))
    converted('pass-finetuned', saved_by_pass(theirs, prefix), tmp_path, model=SEGMENTOR)
    model = MODELS.build(SEGMENTOR)
    load_weights(model, tmp_path / 'target.pth')
    model.eval()
    logits = model.decode_head(model.extract_feat(images()))
    assert_same(logits, theirs.last_layer(theirs.maps(images())[3]))
    back = written_back('pass-finetuned', tmp_path)
    assert_same_weights(back, saved_by_pass(theirs)['state_dict'])


@torch.no_grad()
@pytest.mark.parametrize(
    'mode, stages', [('pretrain', (2, 3)), ('pretrain', (3,)), ('pixelattn', ())]
)
def test_earlier_stages_of_pass_and_back(tmp_path, mode, stages):
    theirs = randomise(PublishedPASS(mode, stages=stages))
    kind = dict(pretrain='pass-pretrained', pixelattn='pass-attention')[mode]
    converted(kind, saved_by_pass(theirs), tmp_path)
    back = written_back(kind, tmp_path)
    expected = saved_by_pass(theirs)['state_dict']
    assert back.keys() == expected.keys()
    for key, tensor in expected.items():
        if 'fbg.atten' not in key:  # the biases went into the means of the norms behind them
            assert torch.equal(back[key], tensor), key
    if mode == 'pixelattn':
        again = PublishedPASS(mode)
        again.load_state_dict({k.removeprefix('module.'): v for k, v in back.items()})
        maps = torch.rand(2, 64, 5, 5)
        assert_same(again.eval().gates(maps), theirs.gates(maps))
