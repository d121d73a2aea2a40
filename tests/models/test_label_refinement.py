"""Predictions whose foreground a segmenter has moved to edges of colour."""

import math

import numpy as np
import pytest
import torch
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import nn

from luss_mm.functional.pixel_assignment import foreground_probability
from luss_mm.models.segmenters import PromptableSegmenter
from tests.models.slow_segmentation import slow_maps
from tests.models.small_segmentors import (
    label_maps,
    local_segmentor,
    logits_of,
    samples,
    small_segmentor,
)

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 55.0, 50.0]
GRABCUT = dict(type='GrabCutSegmenter')
COLOURS = torch.tensor([[60.0, 110, 160], [190, 90, 60], [90, 180, 70]])  # background, two objects


def preprocessor(**settings):
    return SegDataPreProcessor(mean=MEAN, std=STD, **dict(dict(bgr_to_rgb=True), **settings))


class KnownMask(PromptableSegmenter):
    """Answers with a given mask at any size and writes down what it was asked."""

    used_sam = False
    calls = []

    def __init__(self, mask=None, whole_image_side=64):
        self.mask = mask
        self.whole_image_side = whole_image_side

    def check(self):
        pass

    def facts(self):
        return {}

    def encode(self, images):
        return images

    def segment(self, encoded, prompts):
        self.calls.append((encoded, prompts))
        return [prompts[0].region if self.mask is None else self.mask]


@pytest.fixture
def known_masks(monkeypatch):
    monkeypatch.setitem(MODELS._module_dict, 'KnownMask', KnownMask)
    monkeypatch.setattr(KnownMask, 'calls', [])
    return KnownMask.calls


def discs(size=(64, 96)):
    y, x = np.mgrid[: size[0], : size[1]]
    return [(x - cx) ** 2 + (y - 32) ** 2 <= 20**2 for cx in (24, 70)]


def image_of_discs(seed=0):
    """Ids 0 to 2, (64, 96), and a noisy RGB image of them, float (3, 64, 96)."""
    ids = torch.zeros(64, 96, dtype=torch.long)
    for i, disc in enumerate(discs(), start=1):
        ids[torch.from_numpy(disc)] = i
    generator = torch.Generator().manual_seed(seed)
    image = COLOURS[ids].permute(2, 0, 1)
    return ids, (image + 12 * torch.randn(image.shape, generator=generator)).clamp(0, 255).round()


class Half(nn.Module):
    """Logits at a quarter of the image's size: sure of the upper half of each disc, no further."""

    def __init__(self, confident=4.0, unsure=-1.0):
        super().__init__()
        ids, _ = image_of_discs()
        coarse = ids[2::4, 2::4]
        upper = torch.arange(coarse.shape[0])[:, None] < coarse.shape[0] // 2
        logits = torch.full((3, *coarse.shape), -4.0)
        logits[0] = 0
        for i in (1, 2):
            logits[i][coarse == i] = unsure
            logits[i][(coarse == i) & upper] = confident
        self.logits = logits

    def forward(self, images):
        return self.logits[None].expand(len(images), -1, -1, -1)


def segmentor_of(logits, **settings):
    model = small_segmentor(num_classes=3, data_preprocessor=preprocessor(), **settings)
    model.backbone, model.decode_head = nn.Identity(), logits
    return model


def normalised(image):
    return (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def iou(found, truth):
    return ((found & truth).sum() / (found | truth).sum()).item()


@pytest.mark.parametrize('num_classes', [2, 5, 301])
def test_foreground_probability_equals_the_softmax_pixel_by_pixel(num_classes):
    logits = torch.randn(num_classes, 3, 4, generator=torch.Generator().manual_seed(0)) * 3
    found = foreground_probability(logits)
    assert found.dtype == torch.float32
    for y in range(3):
        for x in range(4):
            powers = [math.exp(value) for value in logits[:, y, x].tolist()]
            expected = math.fsum(powers[1:]) / math.fsum(powers)
            assert found[y, x].item() == pytest.approx(expected, rel=1e-5)
    extreme = torch.tensor([[1e4, -1e4], [0, 0]])[..., None].half()
    assert foreground_probability(extreme)[:, 0].tolist() == [0, 1]


def test_refinement_is_off_by_default_and_recovers_the_lower_halves():
    ids, image = image_of_discs()
    plain, refined = segmentor_of(Half()), segmentor_of(Half(), refine=GRABCUT)
    assert plain.refined_by is None and refined.refined_by == 'GrabCutSegmenter'
    (before,), (after,) = (
        model.predict(normalised(image)[None], samples((64, 96))) for model in (plain, refined)
    )
    assert 'refined_by' not in before and after.refined_by == 'GrabCutSegmenter'
    for i in (1, 2):
        assert iou(before.pred_sem_seg.data[0] == i, ids == i) < 0.6
        assert iou(after.pred_sem_seg.data[0] == i, ids == i) > 0.93


@pytest.mark.parametrize('num_classes', [2, 7])
@pytest.mark.parametrize('size', [(64, 48), (101, 77), (30, 21)])
def test_inside_the_mask_is_the_most_probable_other_id(known_masks, num_classes, size):
    mask = np.zeros((64, 48), bool)
    mask[10:40, 12:40] = True
    settings = dict(num_classes=num_classes, data_preprocessor=preprocessor())
    model = local_segmentor(refine=dict(type='KnownMask', mask=mask), **settings)
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(2))
    (labels,) = label_maps(model.predict(images, samples(size)))
    maps = slow_maps(logits_of(model, images)[0], size)
    expected = maps[1:].argmax(0) + 1
    large = slow_maps(torch.from_numpy(mask)[None].double(), size)[0] > 0.5
    assert torch.equal(labels != 0, large) and large.any()
    assert (labels[large] == expected[large]).double().mean() > 0.999


def test_padding_and_flip_are_undone(known_masks):
    """A padded and mirrored input gives what the image alone gives."""
    _, image = image_of_discs()
    image[:, :, :48] = image[:, :, :48].flip(2)  # the halves differ
    alone = segmentor_of(Half(), refine=dict(type='KnownMask', whole_image_side=96))
    (expected,) = label_maps(alone.predict(normalised(image)[None], samples((64, 96))))
    padded = torch.full((1, 3, 72, 104), 9.0)
    padded[0, :, 4:68, 8:] = normalised(image).flip(2)
    logits = Half()
    cells = torch.full((3, 18, 26), -4.0)
    cells[0] = 0
    cells[:, 1:17, 2:] = logits.logits.flip(2)
    logits.logits = cells
    model = segmentor_of(logits, refine=dict(type='KnownMask', whole_image_side=96))
    meta = dict(img_padding_size=(8, 0, 4, 4), flip=True, flip_direction='horizontal')
    (labels,) = label_maps(model.predict(padded, samples((64, 96), **meta)))
    (first, (one,)), (second, (other,)) = known_masks
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(one.score.values, other.score.values, atol=1e-6)
    assert (labels == expected).double().mean() > 0.99  # cells at the seam of the padding differ


def test_what_cannot_be_refined_is_refused():
    with pytest.raises(ValueError, match='two or more ids, not 1'):
        small_segmentor(num_classes=1, refine=GRABCUT, data_preprocessor=preprocessor())
    with pytest.raises(ValueError, match='mean and std of the images.*not BaseDataPreprocessor'):
        small_segmentor(refine=GRABCUT)
