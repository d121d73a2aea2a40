"""Several views of an image: their average, and a dense CRF against the mean field written out."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from luss_mm.models import luss_segmentor as module
from luss_mm.models.luss_segmentor import LUSSTTAModel

CLASSES, SIZE = 3, (12, 16)


class KnownLogits(nn.Module):
    """Segmentor that answers each view with the logits that its sample carries."""

    def test_step(self, view):
        return view['data_samples']


def views(num_views=3, num_images=2):
    generator = torch.Generator().manual_seed(0)
    samples, inputs = [], []
    for view in range(num_views):
        samples.append([])
        inputs.append([])
        for image in range(num_images):
            logits = 3 * torch.randn(CLASSES, *SIZE, generator=generator)
            meta = dict(img_path=f'{image}.png', flip=view % 2 == 1)
            sample = SegDataSample(metainfo=meta, seg_logits=PixelData(data=logits))
            samples[-1].append(sample)
            side = (6, 8) if view == 0 else SIZE
            inputs[-1].append(torch.randint(256, (3, *side), dtype=torch.uint8))
    return dict(inputs=inputs, data_samples=samples)


def slow_labels(samples, average):
    labels = np.zeros(SIZE, dtype=int)
    for y, x in np.ndindex(SIZE):
        logits = np.array([s.seg_logits.data[:, y, x].tolist() for s in samples])  # (V, K)
        if average == 'logits':
            labels[y, x] = logits.mean(axis=0).argmax()
        else:
            shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            labels[y, x] = shares.mean(axis=0).argmax()
    return labels


def test_views_are_averaged_as_asked():
    found = {}
    for average in ('probabilities', 'logits'):
        data = views()
        merged = LUSSTTAModel(KnownLogits(), average=average).test_step(data)
        found[average] = [sample.pred_sem_seg.data for sample in merged]
        for image, labels in enumerate(found[average]):
            expected = slow_labels([batch[image] for batch in data['data_samples']], average)
            assert labels.dtype == torch.int64
            np.testing.assert_array_equal(labels[0].numpy(), expected)
            assert merged[image].img_path == f'{image}.png'
    assert not torch.equal(found['probabilities'][0], found['logits'][0])
    with pytest.raises(ValueError, match="'probabilities' or 'logits', not 'votes'"):
        LUSSTTAModel(KnownLogits(), average='votes')


def test_the_crf_gets_probabilities_and_the_largest_view_that_is_not_flipped(monkeypatch):
    monkeypatch.setattr('luss_mm.models.luss_segmentor.require_pydensecrf', lambda: None)
    calls = []

    def known_field(probabilities, image):
        calls.append((probabilities, image))
        return probabilities[::-1].copy()

    monkeypatch.setattr('luss_mm.models.luss_segmentor.dense_crf', known_field)
    data = views()
    merged = LUSSTTAModel(KnownLogits(), 'logits', dense_crf=True).test_step(data)
    for image, (probabilities, pixels) in enumerate(calls):
        plain = slow_labels([batch[image] for batch in data['data_samples']], 'logits')
        np.testing.assert_array_equal(probabilities.argmax(axis=0), plain)
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)
        labels = merged[image].pred_sem_seg.data[0].numpy()
        np.testing.assert_array_equal(labels, CLASSES - 1 - plain)
        blue_first = data['inputs'][2][image].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(pixels, blue_first[:, :, ::-1])


def test_a_missing_package_is_named_before_anything_runs(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pydensecrf.densecrf', None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[crf\]'"):
        LUSSTTAModel(KnownLogits(), dense_crf=True)


def slow_mean_field(probabilities, image, iterations):
    """Exact kernels between all pairs of pixels, normed symmetrically, and a Potts model."""
    num_classes, height, width = probabilities.shape
    places = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2).astype(float)
    colours = image.reshape(-1, 3).astype(float)
    near = ((places[:, None] - places[None]) ** 2).sum(axis=-1)
    alike = ((colours[:, None] - colours[None]) ** 2).sum(axis=-1)
    kernels = []
    for kernel, weight in (
        (np.exp(-near / (2 * 3**2)), 3),
        (np.exp(-near / (2 * 32**2) - alike / (2 * 13**2)), 10),
    ):
        scale = 1 / np.sqrt(kernel.sum(axis=1))
        kernels.append(weight * scale[:, None] * kernel * scale[None])
    unary = np.log(probabilities.reshape(num_classes, -1))
    q = np.exp(unary) / np.exp(unary).sum(axis=0)
    for _ in range(iterations):
        energy = unary + sum(q @ kernel for kernel in kernels)
        q = np.exp(energy - energy.max(axis=0))
        q /= q.sum(axis=0)
    return q.reshape(probabilities.shape)


@pytest.mark.parametrize('iterations', [1, 3])
def test_equals_the_mean_field_with_exact_kernels(iterations):
    """Up to what the library's permutohedral lattice approximates."""
    pytest.importorskip('pydensecrf', reason='the extra crf is not installed')
    rng = np.random.default_rng(0)
    image = np.full((20, 24, 3), 60, dtype=np.uint8)
    image[5:15, 6:18] = (180, 120, 60)
    image += rng.integers(0, 8, image.shape, dtype=np.uint8)
    probabilities = rng.random((3, 20, 24)) + 0.5
    probabilities[1, 6:13, 8:20] += 1  # beyond the object's right side
    probabilities = (probabilities / probabilities.sum(axis=0)).astype(np.float32)
    found = module.dense_crf(probabilities, image, iterations)
    expected = slow_mean_field(probabilities.astype(float), image, iterations)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)
    assert (found.argmax(axis=0) == expected.argmax(axis=0)).mean() > 0.95
    assert np.abs(found - expected).mean() < 0.1
    assert (probabilities.argmax(axis=0) != expected.argmax(axis=0)).mean() > 0.1
