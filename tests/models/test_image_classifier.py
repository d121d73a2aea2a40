import torch
from torch.nn import functional as F

from luss_mm.models import AttendedClassifier, ImageClassifier, ViewsPreprocessor
from tests.functional.test_pixel_attention import slow_gated_embedding
from tests.models.small_networks import (
    RESNET,
    RESNET_CHANNELS,
    build,
    random_views,
    without_batch_statistics,
)

PREPROCESSOR = ViewsPreprocessor()


def small_classifier(model_class=ImageClassifier, backbone=RESNET, channels=RESNET_CHANNELS[-1]):
    return build(
        model_class,
        backbone=backbone,
        channels=channels,
        num_classes=3,
        data_preprocessor=PREPROCESSOR,
    )


def slow_logits(model, pooled):
    """The linear layer number by number, in float64."""
    weight, bias = model.classifier.weight.double(), model.classifier.bias.double()
    return torch.stack([torch.stack([(w * p).sum() for w in weight]) + bias for p in pooled])


def slow_cross_entropy(logits, labels):
    losses = [-row[k] + row.exp().sum().log() for row, k in zip(logits, labels, strict=True)]
    return sum(losses) / len(losses)


@torch.no_grad()
def test_average_pooling_and_loss_equal_loops():
    model = without_batch_statistics(small_classifier())
    images, labels = random_views(4)[0], torch.tensor([2, 0, 0, 1])
    features = model.backbone(images)[-1].double()
    pooled = [f.flatten(1).sum(1) / f[0].numel() for f in features]
    expected = slow_logits(model, pooled)
    torch.testing.assert_close(model(images).double(), expected, atol=1e-6, rtol=1e-5)
    loss = model(images, class_label=labels, mode='loss')['loss_class']
    assert abs(loss.item() - slow_cross_entropy(expected, labels).item()) < 1e-6


@torch.no_grad()
def test_attended_pooling_is_not_normalised():
    model = without_batch_statistics(small_classifier(AttendedClassifier))
    torch.nn.init.normal_(model.attention.offset)
    images, labels = random_views(3)[0], torch.tensor([1, 1, 2])
    pooled = slow_gated_embedding(*(m.double() for m in model.attend(images)))
    expected = slow_cross_entropy(slow_logits(model, pooled), labels)
    loss = model(images, class_label=labels, mode='loss')['loss_class']
    assert abs(loss.item() - expected.item()) < 1e-6
    embeddings, scores = model(images)
    torch.testing.assert_close(embeddings, F.normalize(pooled.float(), dim=1))
    assert scores.shape == (3, 8, 8)
