"""Indexed masks, valid pixels, image tags and the packing of views."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS
from PIL import Image

from luss_mm.datasets.transforms import (
    LoadBoundedImage,
    LoadIndexedLabelMap,
    MarkValidPixels,
    PackViews,
    SetImageTags,
)
from tests.datasets.semi_layout import write_palette_mask
from tests.tiny_layout import write_image

pytestmark = pytest.mark.usefixtures('mmseg_scope')

SIZE = (20, 30)  # height, width


@TRANSFORMS.register_module()
class FillImage(BaseTransform):
    """Writes a value, or a random number, into the image in place."""

    def __init__(self, value=None):
        self.value = value

    def transform(self, results):
        results['img'][:] = np.random.randint(256) if self.value is None else self.value
        results['gt_seg_map'][:2] = 7
        results['seg_fields'].append('another')
        return results


@pytest.fixture
def entry(tmp_path):
    """An image of SIZE with a mask of ids 1, 2 and void, and its ids after loading."""
    labels = np.random.default_rng(0).choice([1, 2, 255], SIZE)
    image = write_image(tmp_path / 'a.png', np.random.default_rng(1).integers(0, 256, (*SIZE, 3)))
    mask = write_palette_mask(tmp_path / 'mask.png', labels)
    results = dict(img_path=str(image), seg_map_path=str(mask), seg_fields=[])
    return results, np.where(labels == 255, 1000, labels)


def load(results, *transforms, max_side=None):
    results = dict(results, seg_fields=[])
    for transform in (LoadBoundedImage(max_side), *transforms):
        results = transform(results)
    return results


class TestLoadIndexedLabelMap:
    @pytest.mark.parametrize('mode', ['P', 'L'])
    def test_ids_are_the_values_of_the_file(self, entry, mode):
        results, expected = entry
        if mode == 'L':
            raw = np.where(expected == 1000, 255, expected).astype(np.uint8)
            Image.fromarray(raw).save(results['seg_map_path'])
        with Image.open(results['seg_map_path']) as image:
            assert image.mode == mode
        loaded = load(results, LoadIndexedLabelMap())
        assert loaded['gt_seg_map'].dtype == np.int32 and loaded['seg_fields'] == ['gt_seg_map']
        np.testing.assert_array_equal(loaded['gt_seg_map'], expected)

    def test_other_files_are_refused(self, entry):
        path = entry[0]['seg_map_path']
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)
        with pytest.raises(ValueError, match=r'mask.png: an image of mode RGB; .* LoadLabelMap'):
            load(entry[0], LoadIndexedLabelMap())
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
        with pytest.raises(ValueError, match=r'the mask is \(4, 4\)'):
            load(entry[0], LoadIndexedLabelMap())
        for content in (b'', b'no image'):
            Path(path).write_bytes(content)
            with pytest.raises(ValueError, match=r'mask.png: not a readable mask'):
                load(entry[0], LoadIndexedLabelMap())
        entry[0]['seg_map_path'] = 'nowhere.png'
        with pytest.raises(FileNotFoundError, match=r'nowhere.png: no such mask'):
            load(entry[0], LoadIndexedLabelMap())


class TestMarkValidPixels:
    @pytest.mark.parametrize('hidden', [True, False])
    def test_without_a_mask_all_pixels_are_zero(self, entry, hidden):
        results, _ = entry
        if hidden:
            results['mask_is_hidden'] = True
        else:
            del results['seg_map_path']
        marked = load(results, LoadIndexedLabelMap(), MarkValidPixels(), max_side=15)
        assert not marked['has_mask'] and marked['seg_fields'] == ['gt_seg_map']
        assert marked['gt_seg_map'].dtype == np.int32
        np.testing.assert_array_equal(marked['gt_seg_map'], np.zeros((10, 15)))

    def test_padding_is_not_valid_whatever_moves_the_image(self, entry):
        """White pixels are the image, black ones padding: the label map agrees at each."""
        results, _ = entry
        del results['seg_map_path']
        moves = Compose(
            [
                dict(type='RandomResize', scale=(30, 30), ratio_range=(0.4, 1.5), keep_ratio=True),
                dict(type='Pad', size=(24, 24), pad_val=dict(img=0, seg=1000)),
                dict(type='RandomCrop', crop_size=(24, 24), ignore_index=1000),
                dict(type='RandomFlip', prob=0.5),
            ]
        )
        padded = 0
        for seed in range(20):
            np.random.seed(seed)
            marked = load(results, MarkValidPixels())
            marked['img'][:] = 255
            moved = moves(marked)
            white = moved['img'].min(axis=2) == 255
            np.testing.assert_array_equal(moved['gt_seg_map'] == 0, white)
            np.testing.assert_array_equal(moved['gt_seg_map'] == 1000, ~white)
            padded += not white.all()
        assert 5 < padded < 20


class TestSetImageTags:
    def test_from_the_whole_mask(self, entry):
        assert load(entry[0], LoadIndexedLabelMap(), SetImageTags())['image_tags'] == (0, 1, 2)
        without = SetImageTags(background=False)
        assert load(entry[0], LoadIndexedLabelMap(), without)['image_tags'] == (1, 2)

    def test_the_ignore_index_is_no_tag(self, entry):
        write_palette_mask(Path(entry[0]['seg_map_path']), np.full(SIZE, 255))
        assert load(entry[0], LoadIndexedLabelMap(), SetImageTags())['image_tags'] == (0,)
        with pytest.raises(ValueError, match='a.png: its mask has no category'):
            load(entry[0], LoadIndexedLabelMap(), SetImageTags(background=False))

    def test_out_of_order(self, entry):
        with pytest.raises(KeyError, match='neither tags nor a mask'):
            load(entry[0], SetImageTags())
        with pytest.raises(ValueError, match='put it before MarkValidPixels'):
            load(entry[0], LoadIndexedLabelMap(), MarkValidPixels(), SetImageTags())


class TestPackViews:
    def test_images_maps_and_metainfo(self, entry):
        results = load(entry[0], LoadIndexedLabelMap(), SetImageTags(), MarkValidPixels())
        packed = PackViews(dict(labelled=[], flipped=[dict(type='RandomFlip', prob=1.0)]))(results)
        assert list(packed) == ['inputs', 'data_samples']
        bgr = torch.from_numpy(results['img']).permute(2, 0, 1)
        labels = torch.from_numpy(entry[1])[None]
        for name, flip in (('labelled', False), ('flipped', True)):
            image, sample = packed['inputs'][name], packed['data_samples'][name]
            assert image.dtype == torch.uint8 and image.is_contiguous()
            assert torch.equal(image, bgr.flip(-1) if flip else bgr)
            assert sample.gt_sem_seg.data.dtype == torch.int64
            assert torch.equal(sample.gt_sem_seg.data, labels.flip(-1) if flip else labels)
            assert sample.has_mask is True and sample.image_tags == (0, 1, 2)
            assert sample.ori_shape == SIZE and sample.img_path == results['img_path']
            assert sample.get('flip', False) == flip and 'cutmix_box' not in sample.metainfo

    def test_views_see_copies_and_draw_on_their_own(self, entry):
        results = load(entry[0], LoadIndexedLabelMap())
        image = results['img'].copy()
        fill = [dict(type='FillImage')]
        packed = PackViews(dict(first=fill, second=fill, plain=[]))(results)
        assert packed['inputs']['first'].unique() != packed['inputs']['second'].unique()
        plain = packed['inputs']['plain'].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(plain, image)
        np.testing.assert_array_equal(packed['data_samples']['plain'].gt_sem_seg.data[0], entry[1])
        assert results['seg_fields'] == ['gt_seg_map']

    def test_masks_that_are_not_there_or_not_meant(self, entry):
        packing = PackViews(dict(a=[]))
        with pytest.raises(KeyError, match='put MarkValidPixels before PackViews'):
            packing(load(entry[0]))
        hidden = entry[0] | dict(mask_is_hidden=True)
        with pytest.raises(KeyError, match='put MarkValidPixels'):
            packing(load(hidden, LoadIndexedLabelMap()))
        sample = packing(load(hidden, LoadIndexedLabelMap(), MarkValidPixels()))
        assert sample['data_samples']['a'].has_mask is False
        with pytest.raises(ValueError, match='at least one view'):
            PackViews({})
