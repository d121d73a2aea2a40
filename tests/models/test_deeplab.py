"""DeepLabv3+ of DSSN and PCT beside networks, losses and windows that are spelt out here."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import nn
from torch.nn import functional as F

from tests.models.small_dssn import network_config

IGNORED = 1000


def block(inputs, outputs, kernel, rate=1):
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Published(nn.Module):
    """The head as its descriptions say, `kernel` 1 (DSSN) or 3 with dropout (PCT)."""

    def __init__(self, deep, shallow, width, classes, kernel):
        super().__init__()
        self.b0 = block(deep, width, 1)
        self.b1, self.b2, self.b3 = (block(deep, width, 3, rate) for rate in (6, 12, 18))
        self.b4 = block(deep, width, 1)
        self.project = block(5 * width, width, 1)
        self.reduce = block(shallow, 48, kernel)
        self.fuse = nn.Sequential(block(width + 48, width, 3), block(width, width, 3))
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, c1, c4):
        def enlarged(x, like):
            return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=True)

        pooled = enlarged(self.b4(c4.mean(dim=(2, 3), keepdim=True)), c4)
        branches = [self.b0(c4), self.b1(c4), self.b2(c4), self.b3(c4), pooled]
        deep = enlarged(self.project(torch.cat(branches, dim=1)), c1)
        return self.classifier(self.fuse(torch.cat([self.reduce(c1), deep], dim=1)))


def head_config(deep, shallow, width, classes, **settings):
    return dict(
        type='DeepLabV3PlusHead',
        in_index=-1,
        in_channels=deep,
        channels=width,
        dilations=(1, 6, 12, 18),
        shallow_in_channels=shallow,
        num_classes=classes,
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.0,
        align_corners=True,
        ignore_index=IGNORED,
        **settings,
    )


def copied(ours, theirs, width):
    """Give our head the weights of the published one, whose pooled branch comes last."""
    pairs = {
        'image_pool.1': theirs.b4,
        'bottleneck': theirs.project,
        'reduction': theirs.reduce,
        'fusion.0': theirs.fuse[0],
        'fusion.1': theirs.fuse[1],
    }
    branches = (theirs.b0, theirs.b1, theirs.b2, theirs.b3)
    pairs |= {f'aspp_modules.{i}': branch for i, branch in enumerate(branches)}
    state = {f'conv_seg.{k}': v for k, v in theirs.classifier.state_dict().items()}
    for name, (conv, norm, _) in pairs.items():
        weight = conv.weight
        if name == 'bottleneck':
            weight = weight.roll(width, dims=1)
        elif name == 'fusion.0':
            weight = weight.roll(width, dims=1)  # ours: deep, then shallow
        state[f'{name}.conv.weight'] = weight
        state |= {f'{name}.bn.{k}': v for k, v in norm.state_dict().items()}
    ours.load_state_dict(state, strict=True)


@pytest.mark.parametrize('kernel', [1, 3])
def test_equals_the_published_head(kernel):
    torch.manual_seed(0)
    theirs = Published(12, 6, 8, 5, kernel)
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.5, 1.5)
    ours = MODELS.build(head_config(12, 6, 8, 5, shallow_kernel=kernel, aspp_dropout=0.5))
    copied(ours, theirs, 8)
    c1, c4 = torch.randn(2, 6, 24, 30), torch.randn(2, 12, 6, 8)
    with torch.no_grad():
        expected = theirs.eval()(c1, c4)
        torch.testing.assert_close(ours.eval()([c1, c4]), expected, rtol=1e-5, atol=1e-5)
        assert not torch.equal(ours.train()([c1, c4]), ours([c1, c4]))  # dropout of PCT


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(('kernel', 'millions'), [(1, 16.84), (3, 16.94)])
def test_as_many_parameters_as_the_published_one(kernel, millions):
    with torch.device('meta'):
        theirs = Published(2048, 256, 256, 21, kernel)
        ours = MODELS.build(head_config(2048, 256, 256, 21, shallow_kernel=kernel))
    assert parameters(ours) == parameters(theirs)
    assert round(parameters(ours) / 1e6, 2) == millions


def slow_hard_pixels(logits, labels, threshold, min_kept):
    """Pixel by pixel: the mean over those that are hard, or the least probable ones."""
    pixels = []
    for b, y, x in (labels != IGNORED).nonzero().tolist():
        p = logits[b, :, y, x].double().softmax(dim=0)[labels[b, y, x]].item()
        pixels.append(p)
    pixels.sort()
    kept = [p for p in pixels if p < threshold]
    if len(kept) < min_kept:
        kept = pixels[:min_kept]
    return -torch.tensor(kept, dtype=torch.float64).log().mean().item()


@pytest.mark.parametrize(('threshold', 'min_kept'), [(0.7, 5), (0.05, 30), (0.3, 1)])
def test_hard_pixels_are_averaged_over_those_kept(threshold, min_kept):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 4, 6, 7, generator=generator)
    labels = torch.randint(0, 4, (2, 6, 7), generator=generator)
    labels[0, :2] = IGNORED
    loss = MODELS.build(
        dict(type='HardPixelCrossEntropy', ignore_label=IGNORED, thres=threshold, min_kept=min_kept)
    )
    expected = slow_hard_pixels(logits, labels, threshold, min_kept)
    assert abs(loss(logits, labels, ignore_index=IGNORED).item() - expected) < 1e-5


def test_hard_pixels_of_padding_alone_and_mistakes():
    loss = MODELS.build(dict(type='HardPixelCrossEntropy', ignore_label=IGNORED))
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 2, 2), IGNORED)
    loss(logits, labels).backward()
    assert not logits.grad.any()
    with pytest.raises(ValueError, match='set ignore_label=255'):
        loss(logits, labels, ignore_index=255)
    with pytest.raises(ValueError, match='remove the sampler'):
        loss(logits, labels, weight=torch.ones(1, 2, 2))


@torch.no_grad()
@pytest.mark.parametrize('size', [(20, 30), (12, 16), (7, 40)])
def test_windows_add_up_probabilities(size):
    """Literally: windows from multiples of the stride, cut off at the border."""
    config = network_config(kind := 5)
    config.update(
        type='WindowSegmentor',
        test_cfg=ConfigDict(mode='slide', crop_size=(12, 16), stride=(8, 10)),
    )
    model = MODELS.build(config).eval()
    images = torch.randn(2, 3, *size)
    sums = torch.zeros(2, kind, *size)
    row = 0
    while row < size[0]:
        column = 0
        while column < size[1]:
            part = images[:, :, row : min(size[0], row + 12), column : min(size[1], column + 16)]
            logits = model.decode_head(model.backbone(part))
            logits = F.interpolate(logits, part.shape[2:], mode='bilinear', align_corners=False)
            down, across = part.shape[2:]
            sums[:, :, row : row + down, column : column + across] += logits.softmax(dim=1)
            column += 10
        row += 8
    metas = [dict(ori_shape=size, img_shape=size)] * 2
    torch.testing.assert_close(model.inference(images, metas), sums)
