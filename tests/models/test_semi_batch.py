import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from luss_mm.models.semi_batch import stack_boxes, stack_labels, stack_tags


def sample(**metainfo):
    labels = torch.full((1, 3, 4), metainfo.pop('label', 0))
    return SegDataSample(
        metainfo=dict(img_path='a.jpg') | metainfo, gt_sem_seg=PixelData(data=labels)
    )


def test_labels_keep_every_id():
    labels = stack_labels([sample(label=255), sample(label=1000)])
    assert labels.shape == (2, 3, 4) and labels.dtype == torch.int64
    assert labels.flatten(1).unique(dim=1).tolist() == [[255], [1000]]


def test_tags_as_rows_of_classes():
    tags = stack_tags([sample(image_tags=(0, 2)), sample(image_tags=()), sample(image_tags=[3])], 4)
    assert tags.dtype == torch.bool
    assert tags.int().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize('wrong', [(0, 4), (-1,), (1000,)])
def test_tags_without_a_class_are_named(wrong):
    with pytest.raises(ValueError, match=r'a.jpg: the image tags .* do not lie in 0..3'):
        stack_tags([sample(image_tags=wrong)], 4)
    with pytest.raises(KeyError, match='a.jpg has no image tags: add SetImageTags'):
        stack_tags([sample()], 4)


def test_boxes_with_zeros_for_none():
    boxes = stack_boxes([sample(cutmix_box=(1, 2, 3, 4)), sample(cutmix_box=None)])
    assert boxes.dtype == torch.int64 and boxes.tolist() == [[1, 2, 3, 4], [0, 0, 0, 0]]
    with pytest.raises(KeyError, match='a.jpg has no cutmix_box: add DrawCutMixBox'):
        stack_boxes([sample()])
