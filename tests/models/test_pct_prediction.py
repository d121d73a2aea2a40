"""Which segmentors PCT is built of, and the label maps of both."""

import pytest
import torch

from luss_mm.models.pct_segmentor import PCTSegmentor
from luss_mm.models.student_teacher import build_segmentor
from tests.models.slow_segmentation import slow_maps, wrong_pixels
from tests.models.small_networks import random_views
from tests.models.small_pct import segmentor_config, small_head, small_pct
from tests.models.small_segmentors import logits_of, samples

SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(16, 24))
FIELDS = ('pred_hybrid', 'pred_pseudo')


def predicted_maps(model, images, data_samples):
    """{field: label maps} of an evaluated model."""
    results = model.eval().predict(images, data_samples)
    for one in results:
        for field in (*FIELDS, 'pred_sem_seg'):
            labels = one.get(field).data
            assert labels.dtype == torch.int64 and labels.shape == (1, *one.ori_shape)
    return {field: [one.get(field).data[0] for one in results] for field in FIELDS}


@pytest.mark.parametrize('kind', ['EncoderDecoder', 'LUSSSegmentor'])
@pytest.mark.parametrize('num_classes', [2, 300])
def test_label_maps_of_both_networks_are_the_argmax_of_full_maps(kind, num_classes):
    model, images = small_pct(num_classes, kind), random_views(2, (48,))[0]
    sizes = [(48, 48), (97, 61)]
    maps = predicted_maps(model, images, samples(*sizes))
    for field, network in zip(FIELDS, (model.hybrid, model.pseudo), strict=True):
        for labels, logits, size in zip(
            maps[field], logits_of(network, images), sizes, strict=True
        ):
            assert wrong_pixels(labels, slow_maps(logits, size)) == 0
    assert not torch.equal(maps['pred_hybrid'][1], maps['pred_pseudo'][1])
    if num_classes == 300:
        assert max(labels.max() for labels in maps['pred_hybrid']) > 255


@pytest.mark.parametrize('mode', [None, SLIDE])
def test_restricted_predictions_hold_the_tags_of_each_image(mode):
    model, images = small_pct(mode=mode, restrict_to_tags=True), random_views(2, (48,))[0]
    data_samples = samples((48, 48), (60, 50))
    for one, tags in zip(data_samples, ((0, 3), (2, 4)), strict=True):
        one.set_metainfo(dict(image_tags=tags))
    maps = predicted_maps(model, images, data_samples)
    for labels in maps.values():
        assert set(labels[0].unique().tolist()) <= {0, 3}
        assert set(labels[1].unique().tolist()) <= {2, 4}
    logits = logits_of(model.hybrid, images) if mode is None else None
    if logits is not None:
        full = slow_maps(logits[1], (60, 50))[[2, 4]]
        assert wrong_pixels((maps['pred_hybrid'][1] == 4).long(), full) == 0


def test_restricted_predictions_need_tags():
    model, images = small_pct(restrict_to_tags=True).eval(), random_views(1, (32,))[0]
    with pytest.raises(KeyError, match='a/b.jpg has no image tags: add SetImageTags'):
        model.predict(images, samples((32, 32), img_path='a/b.jpg'))


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(predict_with='teacher'), "must be 'hybrid' or 'pseudo', not 'teacher'"),
        (dict(loss_weights=(1, 1)), 'needs the weights of L1 to L4'),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PCTSegmentor(segmentor_config(), **settings)


@pytest.mark.parametrize(
    'config, message',
    [
        (segmentor_config(1), 'set num_classes to 2 or more'),
        (
            segmentor_config(
                kind='CascadeEncoderDecoder', num_stages=1, decode_head=[small_head(5, 3)]
            ),
            'one decode head, not CascadeEncoderDecoder',
        ),
    ],
)
def test_segmentors_that_cannot_be_used_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        build_segmentor(config)
