import pytest
import torch
from mmseg.registry import MODELS

from luss_mm.functional.pixel_attention import foreground_score
from luss_mm.models.attended_backbone import AttendedInference, GatePooling
from tests.models.test_attended_inference import images
from tests.models.test_pixel_attention_model import RESNET, RESNET_CHANNELS

SHARP = dict(gate_power=2.0, label_window=0.5, sharpen_radius=0.25)


def length_model(**pooling):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmseg.ForegroundModel',
            backbone=RESNET,
            channels=RESNET_CHANNELS[-1],
            upsample=2,
            foreground=dict(type='mmseg.FeatureLength'),
            pooling=pooling,
            data_preprocessor=dict(type='mmseg.ViewsPreprocessor'),
        )
    ).eval()


@torch.no_grad()
def test_embedding_by_hand():
    features, gates = torch.rand(2, 5, 3, 4), torch.rand(2, 1, 3, 4)
    found = GatePooling(gate_power=2).embedding(features, gates)
    expected = torch.stack([(features[i] * gates[i] ** 2).flatten(1).mean(1) for i in range(2)])
    torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize('pooling', [{}, SHARP])
def test_inference_equals_the_model(pooling):
    model = length_model(**pooling)
    embeddings, scores = model.embed(images())
    inference = AttendedInference(model)
    found, found_scores = inference(images())
    torch.testing.assert_close(found, embeddings, atol=1e-6, rtol=0)
    torch.testing.assert_close(found_scores, scores, atol=1e-5, rtol=0)
    features, pixel_scores = inference.score_pixels(images())
    torch.testing.assert_close(pixel_scores, scores, atol=1e-5, rtol=0)
    maps = inference.backbone(images())[-1]
    assert features.shape == maps.shape
    for given, computed in (
        (inference(images(), maps), (found, found_scores)),
        (inference.score_pixels(images(), maps), (features, pixel_scores)),
    ):
        for one, other in zip(given, computed, strict=True):
            torch.testing.assert_close(one, other)


def test_scores_are_sharpened_to_the_size_of_the_images():
    model = length_model(**SHARP)
    with torch.no_grad():
        features, gates = model.attend(images())
        _, scores = model.embed(images())
    assert scores.shape[-2:] == images().shape[-2:]
    assert foreground_score(gates).shape[-2:] == features.shape[-2:]


@pytest.mark.parametrize(
    'wrong', [dict(gate_power=0), dict(label_window=-1), dict(sharpen_radius=-1)]
)
def test_meaningless_pooling_is_refused(wrong):
    with pytest.raises(ValueError, match='gate_power'):
        GatePooling(**wrong)


def test_a_model_without_training_refuses_a_loss():
    with pytest.raises(ValueError, match='nothing to train'):
        length_model()(images(), mode='loss')
