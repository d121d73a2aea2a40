import copy
import math

import pytest
import torch

from tests.functional.slow_tags import slow_cross_entropy, slow_tag_loss
from tests.functional.test_class_iou import slow_counts, slow_weight
from tests.models.slow_segmentation import IGNORED, slow_maps
from tests.models.small_networks import without_batch_statistics
from tests.models.small_pct import (
    all_samples,
    batch,
    gradients_of,
    small_pct,
    tags_of,
    truth_of,
    with_local_backbones,
)

LOSSES = ('loss_labelled', 'loss_pseudo', 'loss_tags', 'loss_cross')


@torch.no_grad()
def maps_of(model, inputs):
    """Logits of the decode head and the auxiliary heads of both networks, both views in a batch."""
    images = torch.cat([inputs['labelled'], inputs['tagged']])
    networks = copy.deepcopy(model)  # batch norm keeps count of what it saw
    for network in (networks.hybrid, networks.pseudo):
        features = network.extract_feat(images)
        heads = [network.decode_head]
        heads += list(network.auxiliary_head) if network.with_auxiliary_head else []
        yield [head(features) for head in heads]


def slow_argmax(logits, tags, size):
    maps = torch.stack([slow_maps(image, size) for image in logits])
    return maps.masked_fill(~tags[:, :, None, None], -math.inf).argmax(dim=1)


def slow_losses(model, inputs, data_samples, counts, stride=1, auxiliary_weight=0.0):
    """The four losses and the running counts of the method's description, decay .99."""
    samples = all_samples(data_samples)
    n, size = len(data_samples['labelled']), model.num_classes
    tags, truth = tags_of(samples, size), truth_of(samples, stride)
    hybrid, pseudo = maps_of(model, inputs)
    guesses = [slow_argmax(maps[0], tags, truth.shape[1:]) for maps in (hybrid, pseudo)]
    counts = 0.99 * counts + slow_counts(guesses[1][:n], truth[:n], size)
    iou = counts[0] / (counts[1] + counts[2] - counts[0])
    weights = torch.tensor([slow_weight(iou.nan_to_num(0), row) for row in tags[n:]])
    targets = []
    for guess in guesses:
        target = torch.where(truth == IGNORED, IGNORED, guess)
        for i, sample in enumerate(samples):
            target[i] = truth[i] if sample.has_mask else target[i]
        targets.append(target[n:])

    def pixels(maps, rows, labels, weights=None):
        each = [slow_cross_entropy(m[rows], tags[rows], labels, weights) for m in maps]
        return each[0] + auxiliary_weight * sum(each[1:])

    labelled, tagged = slice(n), slice(n, None)
    valid = torch.nn.functional.adaptive_max_pool2d(
        (truth != IGNORED)[:, None].float(), hybrid[0].shape[2:]
    )[:, 0]
    return counts, dict(
        loss_labelled=pixels(hybrid, labelled, truth[:n]),
        loss_pseudo=pixels(pseudo, tagged, targets[0]),
        loss_tags=slow_tag_loss(hybrid[0][:, 1:], tags[:, 1:], valid > 0),
        loss_cross=pixels(hybrid, tagged, targets[1], weights),
        progressive_weight=weights.mean().item(),
        class_iou=iou.nan_to_num(0).mean().item(),
        outside_tags=0.0,
    )


def largest_error(losses, expected):
    assert losses.keys() == expected.keys()
    return max(abs(losses[name].item() - expected[name]) for name in expected)


# ---------------------------------------------------------------- the four losses


@pytest.mark.parametrize(
    'num_classes, kind, stride, auxiliary, with_masks',
    [
        (2, 'EncoderDecoder', 1, None, ()),
        (5, 'LUSSSegmentor', 1, None, (1,)),
        (5, 'EncoderDecoder', 2, (2,), ()),
        (300, 'EncoderDecoder', 4, (1, 2), (0, 2)),
    ],
)
def test_losses_equal_the_slow_ones(num_classes, kind, stride, auxiliary, with_masks):
    model = small_pct(num_classes, kind, auxiliary, loss_stride=stride, auxiliary_weight=0.3)
    model.class_pixels += 9000.0  # well segmented, so that the weights are not nothing but zeros
    model.class_pixels[2] += 200 * (torch.arange(num_classes) % 7)
    counts = model.class_pixels.clone()
    for seed in range(2):
        data = batch(num_classes, with_masks=with_masks, seed=seed)
        counts, expected = slow_losses(model, *data, counts, stride, 0.3)
        losses = model.loss(*data)
        assert largest_error(losses, expected) < 1e-4
        torch.testing.assert_close(model.class_pixels, counts, rtol=1e-12, atol=0)
        assert all(losses[name] > 0.01 for name in LOSSES)
        assert 0 < losses['progressive_weight'] < 0.9


def test_each_loss_teaches_whom_it_should():
    model = small_pct(auxiliary=(2,))
    model.class_pixels += 1
    losses = model.loss(*batch())
    for name, hybrid_learns in zip(LOSSES, (True, False, True, True), strict=True):
        hybrid, pseudo = gradients_of(model, losses[name])
        assert (hybrid > 1e-3) == hybrid_learns and (pseudo > 1e-3) != hybrid_learns
        assert min(hybrid, pseudo) == 0


# ---------------------------------------------------------------- pseudo-labels and weights


def test_padding_counts_nowhere():
    model = without_batch_statistics(with_local_backbones(small_pct()))
    inputs, data_samples = batch()
    for one in all_samples(data_samples):
        one.gt_sem_seg.data[:, :, 16:] = IGNORED
    model.class_pixels += 9000
    for images in inputs.values():
        images.requires_grad_()
    losses = model.loss(inputs, data_samples)
    for name in LOSSES:
        gradients = torch.autograd.grad(
            losses[name], list(inputs.values()), retain_graph=True, allow_unused=True
        )
        seen = sum(g.abs().sum(dim=(0, 1, 2)) for g in gradients if g is not None)
        # columns 16 to 19 are a cell that is blended into its neighbour when logits are resized
        assert (seen[20:] == 0).all() and (seen[:16] > 0).all()
    counted = (truth_of(data_samples['labelled']) != IGNORED).sum()
    assert abs(model.class_pixels[2].sum() - 5 * 9000 * 0.99 - counted) < 1e-6


def test_labels_outside_the_tags_are_reported():
    inputs, data_samples = batch()
    first = data_samples['labelled'][0]
    first.gt_sem_seg.data[:] = 0
    first.set_metainfo(dict(image_tags=(1, 4)))
    losses = small_pct().loss(inputs, data_samples)
    known = (truth_of(data_samples['labelled']) != IGNORED).sum()
    assert abs(losses['outside_tags'] - 32 * 32 / known) < 1e-6
    assert all(losses[name].isfinite() for name in LOSSES)


# ---------------------------------------------------------------- mistakes


def test_batches_that_cannot_be_learned_from_are_named():
    model = small_pct()
    inputs, data_samples = batch()
    with pytest.raises(ValueError, match="no view 'tagged', only \\['labelled'\\]"):
        model.loss(dict(labelled=inputs['labelled']), data_samples)
    other = dict(inputs, tagged=inputs['tagged'][:, :, :24])
    with pytest.raises(ValueError, match=r'unequal height and width .*\(32, 32\).*\(24'):
        model.loss(other, data_samples)
    data_samples['labelled'][1].set_metainfo(dict(has_mask=False, img_path='a/b.jpg'))
    with pytest.raises(ValueError, match='a/b.jpg is among the labelled images, but has no mask'):
        model.loss(inputs, data_samples)
