import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from mmseg.utils import stack_batch

from tests.functional.largest_tensor import LargestTensor
from tests.models.slow_segmentation import (
    IGNORED,
    slow_cross_entropy,
    slow_maps,
    slow_nearest,
    wrong_pixels,
)
from tests.models.small_networks import random_views
from tests.models.small_segmentors import (
    label_maps,
    local_segmentor,
    logits_of,
    samples,
    small_segmentor,
)

# ---------------------------------------------------------------- label maps


@pytest.mark.parametrize('num_classes, in_index', [(2, 3), (5, 0), (301, 0), (920, 1)])
def test_label_maps_equal_the_argmax_of_full_maps(num_classes, in_index):
    model = small_segmentor(num_classes=num_classes, in_index=in_index)
    images = random_views(3)[0][:, :, :48]
    sizes = [(48, 64), (97, 131), (30, 41)]  # as the input, larger, smaller
    predicted = label_maps(model.predict(images, samples(*sizes)))
    for labels, logits, size in zip(predicted, logits_of(model, images), sizes, strict=True):
        assert wrong_pixels(labels, slow_maps(logits, size)) == 0
        assert len(labels.unique()) > 1
    if num_classes > 256:
        assert max(labels.max() for labels in predicted) > 255


@pytest.mark.parametrize('direction, axis', [('horizontal', 2), ('vertical', 1)])
def test_flipped_inputs_are_flipped_back(direction, axis):
    model = local_segmentor()
    model.backbone.cells.weight.data = model.backbone.cells.weight.data.mean((2, 3), True).expand(
        -1, -1, 4, 4
    )  # a symmetric network
    image = random_views(1)[0]
    flipped = samples((90, 70), flip=True, flip_direction=direction)
    labels = label_maps(model.predict(image.flip(axis + 1), flipped))[0]
    assert wrong_pixels(labels, slow_maps(logits_of(model, image)[0], (90, 70))) == 0


@pytest.mark.parametrize(
    'size, small',
    [((90, 120), (45, 60)), ((121, 70), (60, 35)), ((3, 900), (1, 60)), ((73, 69), (60, 57))],
)
def test_large_images_are_decided_small_and_enlarged(size, small):
    limits = dict(max_argmax_pixels=2500, max_argmax_side=60)
    model, unlimited = small_segmentor(**limits), small_segmentor()
    images = random_views(1)[0]
    labels = label_maps(model.predict(images, samples(size)))[0]
    decided = label_maps(unlimited.predict(images, samples(small)))[0]
    assert torch.equal(labels, slow_nearest(decided, size))


@pytest.mark.parametrize('size, num_classes', [((380, 390), 920), ((1100, 1300), 120)])
def test_full_size_logits_never_exist(size, num_classes):
    model = small_segmentor(num_classes=num_classes, in_index=3)
    images = random_views(1)[0]
    with LargestTensor() as largest:
        labels = label_maps(model.predict(images, samples(size)))[0]
    decided = min(1, 1000 / max(size)) ** 2 * size[0] * size[1]
    assert labels.numel() <= largest.bytes // 4 < 0.7 * num_classes * decided
    assert largest.bytes <= 256 * 2**20


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize('ratio', [1, 1.7])
def test_padded_images_of_unequal_sizes_get_the_label_maps_of_unpadded_ones(ratio):
    model = local_segmentor()
    shapes = [(64, 40), (32, 64), (64, 64), (4, 52)]
    images = [random_views(1, seed=i)[0][0, :, :h, :w] for i, (h, w) in enumerate(shapes)]
    sizes = [(round(h * ratio), round(w * ratio)) for h, w in shapes]
    # mmseg's own padding: a batch and what it notes about each image
    batch, notes = stack_batch(images, size=(64, 72), pad_val=3)
    padded = [
        SegDataSample(metainfo=dict(ori_shape=size, **note))
        for size, note in zip(sizes, notes, strict=True)
    ]
    assert notes[1]['img_padding_size'] == (0, 8, 0, 32)
    predicted = label_maps(model.predict(batch, padded))
    for image, labels, size in zip(images, predicted, sizes, strict=True):
        alone = label_maps(model.predict(image[None], samples(size)))[0]
        # The padded map may be scaled by up to half a pixel in its whole length.
        assert (labels == alone).double().mean() >= (1 if ratio == 1 else 0.98)


# ---------------------------------------------------------------- loss


def labelled(labels):
    sample = SegDataSample(metainfo=dict(img_shape=tuple(labels.shape)))
    sample.gt_sem_seg = PixelData(data=labels[None].clone())
    return sample


def random_labels(batch, num_classes, height=64, width=64):
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, num_classes, (batch, height, width), generator=generator)
    labels[:, 10:20, 5:40] = IGNORED
    labels[:, 30:40, :20] = min(255, num_classes - 1)
    return labels


@pytest.mark.parametrize('stride, width', [(2, 64), (1, 20), (3, 61)])
@pytest.mark.parametrize('num_classes', [5, 301])
def test_loss_equals_loops(stride, width, num_classes):
    model = small_segmentor(num_classes=num_classes, loss_stride=stride)
    images = random_views(2)[0][:, :, :33, :width].contiguous()
    labels = random_labels(2, num_classes, 33, width)
    losses = model.loss(images, [labelled(one) for one in labels])
    expected = slow_cross_entropy(logits_of(model, images), labels, stride)
    assert abs(losses['decode.loss_ce'].item() - expected) < 1e-5 * expected


def gradient_of(model, images, labels):
    model.zero_grad()
    losses = model.loss(images, [labelled(one) for one in labels])
    losses['decode.loss_ce'].backward()
    return losses['decode.loss_ce'].item(), model.decode_head.conv_seg.weight.grad.clone()


def test_1000_is_ignored_and_255_is_a_category():
    model, images = small_segmentor(num_classes=301), random_views(1)[0]
    labels = torch.full((1, 64, 64), 7)
    loss, gradient = gradient_of(model, images, labels)
    labels[:, :, 32:] = 255
    with_255, gradient_255 = gradient_of(model, images, labels)
    assert with_255 != loss and gradient_255[255].abs().sum() > gradient[255].abs().sum() * 2
    labels[:, :, 32:] = IGNORED
    without, gradient_without = gradient_of(model, images, labels)
    expected = slow_cross_entropy(logits_of(model, images), labels, 2)
    assert abs(without - expected) < 1e-4 and without != with_255
    labels[:] = IGNORED
    nothing, gradient_nothing = gradient_of(model, images, labels)
    assert nothing == 0 and (gradient_nothing == 0).all()


def test_training_step_pads_with_the_ignored_id():
    preprocessor = SegDataPreProcessor(
        mean=[0.0] * 3, std=[1.0] * 3, size=(64, 64), seg_pad_val=IGNORED
    )
    model = small_segmentor(data_preprocessor=preprocessor)
    image, labels = random_views(1)[0][0, :, :, :40], random_labels(1, 5, 64, 40)
    data = model.data_preprocessor(
        dict(inputs=[image], data_samples=[labelled(labels[0])]), training=True
    )
    losses = model(**data, mode='loss')
    padded = torch.full((1, 64, 64), IGNORED)
    padded[:, :, :40] = labels
    expected = slow_cross_entropy(logits_of(model, data['inputs']), padded, 2)
    assert abs(losses['decode.loss_ce'].item() - expected) < 1e-5


# ---------------------------------------------------------------- settings


def test_sliding_windows_are_refused():
    with pytest.raises(ValueError, match='predicts whole images: set test_cfg'):
        small_segmentor(test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)))


def test_corners_are_aligned_if_the_head_aligns_them():
    model = small_segmentor(head=dict(align_corners=True)).eval()
    images = torch.randn(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    (sample,) = model.predict(images)
    (logits,) = logits_of(model, images)
    expected = slow_maps(logits, (40, 48), align_corners=True)
    assert wrong_pixels(sample.pred_sem_seg.data[0], expected) == 0
    assert wrong_pixels(sample.pred_sem_seg.data[0], slow_maps(logits, (40, 48))) > 0
    padded = SegDataSample(metainfo=dict(ori_shape=(40, 40), img_padding_size=(0, 8, 0, 0)))
    with pytest.raises(ValueError, match='padded by .* set size_divisor=1'):
        model.predict(images, [padded])
    with pytest.raises(ValueError, match='refine needs a decode head with align_corners=False'):
        small_segmentor(head=dict(align_corners=True), refine=dict(type='GrabCutSegmenter'))
