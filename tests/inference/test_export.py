import importlib.util

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from luss_mm.inference import export
from luss_mm.inference.export import ExportError, export_segmentor
from tests.engine.small_run import NUM_IDS, random_model, run_config
from tests.models.small_networks import RESNET_CHANNELS

SIZES = ((32, 32), (45, 70))
UNSEEN = ((64, 40), (37, 51))
missing = [name for name in export.ONNX_PACKAGES if importlib.util.find_spec(name) is None]
ONNX = pytest.param(
    '.onnx',
    'labels',
    marks=pytest.mark.skipif(bool(missing), reason=f'needs pip install {missing}'),
)


class Stem(nn.Module):
    """Strides, odd sizes, batch norm and pooling in one level: quick to export."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.Sequential(
            nn.Conv2d(3, RESNET_CHANNELS[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(RESNET_CHANNELS[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )

    def forward(self, image):
        return (self.layers(image),)


@pytest.fixture(scope='module')
def segmentor():
    model = random_model(run_config())
    model.backbone = Stem()
    return model.eval()


def load(path):
    """As a user would."""
    if path.suffix == '.ts':
        return torch.jit.load(path)
    if path.suffix == '.pt2':
        return torch.export.load(path).module(check_guards=False)
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda images: torch.from_numpy(session.run(None, {'image': images.numpy()})[0])


def images(batch, size):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(sum(size)))


@torch.no_grad()
def expected_logits(segmentor, x):
    return segmentor.decode_head(segmentor.backbone(x))


@pytest.mark.parametrize('suffix, output', [('.ts', 'logits'), ('.pt2', 'labels'), ONNX])
def test_sizes_that_were_not_seen_and_labels_above_255(segmentor, tmp_path, suffix, output):
    path = tmp_path / f'a{suffix}'
    check = export_segmentor(segmentor, path, output, SIZES)
    assert check.largest_difference <= check.tolerance < 0.05 and check.num_ids == NUM_IDS
    assert [path.name for path in tmp_path.iterdir()] == [path.name]
    exported = load(path)
    highest = 0
    for batch, size in zip((1, 3), UNSEEN, strict=True):
        x = images(batch, size)
        logits, found = expected_logits(segmentor, x), exported(x)
        if output == 'logits':
            assert found.shape == logits.shape
            assert (found - logits).abs().max() <= check.tolerance
            found = logits.argmax(1)
        else:
            logits = F.interpolate(logits, size, mode='bilinear')
            assert found.dtype == torch.int64 and found.shape == (batch, *size)
            assert (found == logits.argmax(1)).float().mean() > 0.999
        highest = max(highest, found.max().item())
    assert highest > 255


class Perturbed(nn.Module):
    """Slightly wrong."""

    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, image):
        return self.change(self.network(image))


@pytest.mark.parametrize(
    'output, change',
    [
        ('logits', lambda logits: logits * 1.01),
        ('logits', lambda logits: logits + float('nan')),
        ('logits', lambda logits: logits[:, :, :1]),
        ('labels', lambda labels: (labels + 1) % NUM_IDS),
        ('labels', lambda labels: labels + NUM_IDS),
    ],
)
def test_a_file_that_differs_is_not_kept(segmentor, tmp_path, monkeypatch, output, change):
    write = export.WRITERS['.ts']
    monkeypatch.setitem(
        export.WRITERS, '.ts', lambda net, *rest: write(Perturbed(net, change), *rest)
    )
    (tmp_path / 'a.ts').write_text('the one before')
    with pytest.raises(ExportError, match='a.ts: not kept, since it differs from PyTorch by'):
        export_segmentor(segmentor, tmp_path / 'a.ts', output, SIZES)
    assert (tmp_path / 'a.ts').read_text() == 'the one before'
    assert len(list(tmp_path.iterdir())) == 1


def test_refusals(segmentor, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="end in .onnx, .pt2, .ts, not '.pth'"):
        export_segmentor(segmentor, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='output is one of logits, labels'):
        export_segmentor(segmentor, tmp_path / 'a.ts', 'masks')
    monkeypatch.setattr(export, 'ONNX_PACKAGES', ('a_package_that_is_not_there',))
    with pytest.raises(ExportError, match='pip install a_package_that_is_not_there'):
        export_segmentor(segmentor, tmp_path / 'a.onnx')
    assert not list(tmp_path.iterdir())
