import json

import numpy as np
import pytest
import torch

from luss_mm.models import ImageClassifier, ViewsPreprocessor
from luss_mm.pipeline.features import ScoringRule, score_images
from luss_mm.pipeline.image_batches import ShardedBatches
from tests.models.small_networks import RESNET, RESNET_CHANNELS, build

NUMBER = 11


class LabelledImages(torch.utils.data.Dataset):
    """Noise of two sizes with a label each."""

    def __len__(self):
        return NUMBER

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        shape = (3, 32, 32 + 32 * (index % 2))
        inputs = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        return dict(inputs=inputs, index=index, ori_shape=shape[1:], class_label=index % 4)


@pytest.fixture
def classifier():
    return make_classifier()


def make_classifier():
    model = build(
        ImageClassifier,
        backbone=RESNET,
        channels=RESNET_CHANNELS[-1],
        num_classes=4,
        data_preprocessor=ViewsPreprocessor(),
    )
    torch.nn.init.normal_(model.classifier.weight, std=3)  # so that labels differ
    return model


def batches(number=3):
    return ShardedBatches(LabelledImages(), batch_size=2, shard_size=number)


def score(directory, classifier, rule, sharded=None):
    score_images(directory, classifier, sharded or batches(), rule, inputs=dict(model='a'))
    return np.load(directory / 'losses.npy'), np.load(directory / 'labels.npy')


@torch.no_grad()
def slow_scores(model, rule):
    """One image at a time, the mirror image by hand, softmax in float64."""
    model.eval()
    losses, labels = [], []
    for index in range(NUMBER):
        sample = LabelledImages()[index]
        views = [sample['inputs'], sample['inputs'][:, :, range(sample['inputs'].shape[2])[::-1]]]
        views = [model.data_preprocessor.normalize(v[None]) for v in views]
        logits = [model(v)[0].double() for v in views][: 2 if rule.flip_average else 1]
        mean = sum(logits) / len(logits)
        best = max(range(4), key=lambda k: mean[k])
        against = best if rule.loss_labels == 'predicted' else sample['class_label']
        losses.append(-torch.log(mean[against].exp() / mean.exp().sum()).item())
        labels.append(best if rule.labels == 'predicted' else sample['class_label'])
    return losses, labels


@pytest.mark.parametrize(
    'rule',
    [
        ScoringRule(),
        ScoringRule('predicted', 'predicted', flip_average=True),
        ScoringRule('predicted', 'given', flip_average=True),
        ScoringRule('given', 'predicted'),
    ],
    ids=str,
)
def test_equals_one_image_at_a_time(tmp_path, classifier, rule):
    losses, labels = score(tmp_path / 'scores', classifier, rule)
    expected_losses, expected_labels = slow_scores(classifier, rule)
    assert losses.dtype == np.float32 and labels.dtype == np.int32
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4, atol=1e-5)
    assert labels.tolist() == expected_labels
    assert len(set(labels.tolist())) > 1
    summary = json.loads((tmp_path / 'scores' / 'summary.json').read_text())
    assert summary['images'] == NUMBER and not list((tmp_path / 'scores').glob('.shard*'))


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match="loss_labels: 'given' or 'predicted', not 'mine'"):
        ScoringRule(loss_labels='mine')
