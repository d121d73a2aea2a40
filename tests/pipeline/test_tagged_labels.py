"""Label maps of images with tags against averaging all classes at full size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmseg.models import SegDataPreProcessor
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample

from luss_mm.pipeline import tagged_labels
from luss_mm.pipeline.tagged_labels import (
    NumberedImages,
    TaggedLabeller,
)
from tests.models.small_segmentors import small_segmentor
from tests.tiny_layout import write_image, write_label_map

MEAN, STD = [100.0, 110.0, 120.0], [50.0, 55.0, 60.0]
NUM_CLASSES = 5
CATEGORIES = ('ant', 'bee', 'cat')
PACKING = dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'image_tags', 'has_mask'))


def labeller(num_classes=NUM_CLASSES, divisor=None, **settings):
    preprocessor = SegDataPreProcessor(
        mean=MEAN,
        std=STD,
        bgr_to_rgb=True,
        size=(32, 32),
        seg_pad_val=1000,
        test_cfg=divisor and dict(size_divisor=divisor),
    )
    return TaggedLabeller(small_segmentor(num_classes=num_classes), preprocessor, **settings)


def image_of(height=20, width=28, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (1, 3, 5, 7), generator=generator).float()
    return F.interpolate(coarse, (height, width), mode='bilinear')[0].byte()


def sample_of(tags, ori_shape=(30, 42)):
    meta = dict(img_path='a.JPEG', ori_shape=ori_shape, image_tags=tags)
    return SegDataSample(metainfo=meta)


def slow_label(made, image, sample):
    """Probabilities of all classes at full size for every view; others than tags are impossible."""
    normalised = (image.flip(0).float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(
        STD
    ).view(3, 1, 1)
    total = 0
    for scale in made.scales:
        size = [round(side * scale) for side in image.shape[1:]]
        for mirrored in (False, True) if made.flip else (False,):
            view = F.interpolate(normalised[None], size, mode='bilinear', align_corners=False)
            view = view.flip(-1) if mirrored else view
            with torch.no_grad():
                logits = made.network.decode_head(made.network.backbone(view))[0]
            logits = logits.flip(-1) if mirrored else logits
            excluded = [c for c in range(len(logits)) if c not in sample.image_tags]
            logits[excluded] = -torch.inf
            if made.average == 'logits':
                probabilities = logits.nan_to_num(neginf=-1e9)
            else:
                probabilities = logits.exp() / logits.exp().sum(dim=0)
            total = total + F.interpolate(
                probabilities[None], sample.ori_shape, mode='bilinear', align_corners=False
            )
    return total[0].argmax(dim=0).numpy()


@pytest.mark.parametrize('tags', [(0, 1, 2, 3, 4), (1, 4), (3,)])
@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('divisor', [None, 16])
def test_equals_averaging_all_classes_at_full_size(tags, flip, divisor):
    made = labeller(flip=flip, divisor=divisor)
    images, samples = [image_of(), image_of(seed=1)], [sample_of(tags), sample_of((0, 2))]
    found = made.label(images, samples)
    for image, sample, labels in zip(images, samples, found, strict=True):
        assert labels.dtype == np.int64 and labels.shape == (30, 42)
        assert set(np.unique(labels)) <= set(sample.image_tags)
        different = labels != slow_label(made, image, sample)
        assert different.mean() < 0.002  # where two classes agree to float32's last bits
    if len(tags) == NUM_CLASSES:
        assert len(np.unique(found[0])) > 1


def test_logits_are_averaged_if_asked_for():
    made = labeller(average='logits')
    image, sample = image_of(), sample_of((0, 1, 2, 4))
    (labels,) = made.label([image], [sample])
    assert (labels != slow_label(made, image, sample)).mean() < 0.002
    assert (labels != labeller().label([image], [sample])[0]).any()
    with pytest.raises(ValueError, match="probabilities, logits, not 'labels'"):
        labeller(average='labels')


def test_only_the_tags_are_ever_resized(monkeypatch):
    """With 920 classes at full size a label map would cost gigabytes."""
    classes = []
    real = tagged_labels.argmax_of_average

    def counted(maps, size, **settings):
        classes.extend(len(view) for view in maps)
        return real(maps, size, **settings)

    monkeypatch.setattr(tagged_labels, 'argmax_of_average', counted)
    (labels,) = labeller(num_classes=920).label([image_of()], [sample_of((0, 255, 919))])
    assert set(classes) == {3} and len(classes) == 10
    assert set(np.unique(labels)) <= {0, 255, 919}


@pytest.mark.parametrize(
    'tags, message',
    [(None, 'a.JPEG: has no image tags'), ((), 'no image tags'), ((2, 5), r'\(2, 5\).*0..4')],
)
def test_tags_that_cannot_be_predicted_are_named(tags, message):
    with pytest.raises(ValueError, match=message):
        labeller().label([image_of()], [sample_of(tags)])


# --- a whole data set -----------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    """Seven images; `train-semi` holds copies of one of each category, with masks."""
    rng = np.random.default_rng(0)
    for number, category in enumerate(CATEGORIES, start=1):
        for i in range(3 if number == 1 else 2):
            size = (24, 32) if i % 2 else (28, 20)
            pixels = rng.integers(0, 256, (*size, 3))
            write_image(tmp_path / 'train' / category / f'{i}.png', pixels)
            if i == 0:
                write_image(tmp_path / 'train-semi' / category / f'{i}.png', pixels)
                mask = rng.choice([0, number, 1000], size)
                write_label_map(tmp_path / 'train-semi-segmentation' / category / '0.png', mask)
    return tmp_path


@pytest.fixture
def images(root, mmseg_scope):
    load = [dict(type='LoadBoundedImage'), dict(type='Resize', scale=(64, 16), keep_ratio=True)]
    mask = [dict(type='LoadLabelMap', match_image=False)]
    tag = [dict(type='SetImageTags'), dict(type='MarkValidPixels'), PACKING]
    part = dict(type='LUSSDataset', data_root=str(root))
    labelled = dict(img_path='train-semi', seg_map_path='train-semi-segmentation')
    return NumberedImages(
        DATASETS.build(
            dict(
                type='SemiDataset',
                labelled=dict(part, data_prefix=labelled, pipeline=[*load, *mask, *tag]),
                unlabelled=dict(
                    part,
                    data_prefix=dict(img_path='train'),
                    tags='folders',
                    pipeline=[*load, *tag],
                ),
            )
        )
    )
