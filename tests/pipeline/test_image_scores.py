import json

import numpy as np
import pytest
import torch

from luss_mm.models import ImageClassifier, ViewsPreprocessor
from luss_mm.pipeline import image_scores
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.image_scores import ScoringRule, score_images
from tests.models.small_networks import RESNET, RESNET_CHANNELS, build
from tests.two_ranks import run_on_two_ranks

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


def score_on_a_rank(rank, directory):
    """Losses, labels and the images that this rank looked at."""
    seen = []
    original = image_scores.score_batch

    def noting(classifier, images, *rest):
        seen.append(len(images))
        return original(classifier, images, *rest)

    image_scores.score_batch = noting
    try:
        return *score(directory, make_classifier(), ScoringRule()), sum(seen)
    finally:
        image_scores.score_batch = original


def test_two_ranks_share_the_images_and_equal_one(tmp_path, classifier):
    alone = score(tmp_path / 'alone', classifier, ScoringRule())
    answers = run_on_two_ranks(score_on_a_rank, tmp_path / 'shared')
    for losses, labels, _ in answers:
        np.testing.assert_array_equal(losses, alone[0])
        np.testing.assert_array_equal(labels, alone[1])
    shares = [seen for *_, seen in answers]
    assert sum(shares) == NUMBER and min(shares) > 0


def test_interrupted_scoring_keeps_finished_shards(tmp_path, classifier, monkeypatch):
    whole = score(tmp_path / 'whole', classifier, ScoringRule())
    calls = []
    original = image_scores.score_batch

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:  # two batches a shard: in the second shard
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(image_scores, 'score_batch', interrupted)
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / 'scores', classifier, ScoringRule())
    again = score(tmp_path / 'scores', classifier, ScoringRule())
    assert len(calls) == 4 + 6  # three shards of four are left
    for ours, theirs in zip(again, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match="loss_labels: 'given' or 'predicted', not 'mine'"):
        ScoringRule(loss_labels='mine')
