"""The coarse classes of PiCIE and STEGO, and their protocol on generated images."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.datasets import COCOStuffDataset
from mmseg.registry import DATASETS
from PIL import Image

from luss_mm.evaluation import UnsupervisedIoUMetric
from tests.evaluation.test_without_background import slow_protocol

PROTOCOL = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='ResizeShortSide', side=32),
    dict(type='CenterCrop', crop_size=32),
    dict(type='ScoreAsResized'),
    dict(type='PackSegInputs'),
]


def write_files(folder, img_suffix, seg_map_suffix, ids, sizes):
    """An image and a mask of random ids for each size (height, width)."""
    random = np.random.default_rng(0)
    for index, size in enumerate(sizes):
        for part in ('images', 'masks'):
            (folder / part).mkdir(exist_ok=True)
        image = random.integers(256, size=(*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f'images/{index}{img_suffix}')
        mask = random.choice(ids, size).astype(np.uint8)
        Image.fromarray(mask).save(folder / f'masks/{index}{seg_map_suffix}')


def build(kind, folder, pipeline=PROTOCOL, **settings):
    prefix = dict(img_path=str(folder / 'images'), seg_map_path=str(folder / 'masks'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(dict(type=kind, data_prefix=prefix, pipeline=pipeline, **settings))


def one_row_of_ids(folder, kind, img_suffix, seg_map_suffix, ids, **settings):
    """Coarse class of each id, as mmseg's LoadAnnotations reads it."""
    write_files(folder, img_suffix, seg_map_suffix, [0], [(4, len(ids))])
    row = np.tile(np.array(ids, np.uint8), (4, 1))
    Image.fromarray(row).save(folder / f'masks/0{seg_map_suffix}')
    loading = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    data = build(kind, folder, loading, **settings)
    classes = [*data.metainfo['classes'], *[None] * (256 - len(data.metainfo['classes']))]
    return [classes[i] for i in data[0]['gt_seg_map'][0]]


def test_coco_stuff_has_the_same_classes_in_both_codings(tmp_path):
    names = COCOStuffDataset.METAINFO['classes']
    (tmp_path / 'train').mkdir()
    (tmp_path / 'coco').mkdir()
    train = one_row_of_ids(
        tmp_path / 'train', 'COCOStuff27Dataset', '.jpg', '_labelTrainIds.png', [*range(171), 255]
    )
    absent = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}  # in COCO's own numbers, from 1
    ids = [i - 1 for i in range(1, 183) if i not in absent]
    coco = one_row_of_ids(
        tmp_path / 'coco', 'COCOStuff27Dataset', '.jpg', '.png', [*ids, 255], label_ids='coco'
    )
    assert coco == train and train.pop() is None
    group_of = dict(zip(names, train, strict=True))
    assert set(train) == set(DATASETS.get('COCOStuff27Dataset').METAINFO['classes'])
    for name, group in group_of.items():  # names of COCO-Stuff say the group of many classes
        start, _, rest = name.partition('-')
        if rest and start in ('ceiling', 'floor', 'wall', 'window', 'building', 'ground', 'plant'):
            assert group == start, name
    expected = dict(person='person', car='vehicle', dog='animal', tree='plant', snow='ground')
    expected |= dict(clouds='sky', sea='water', fence='structural', rock='solid', pizza='food')
    assert {name: group_of[name] for name in expected} == expected
    with pytest.raises(ValueError, match="'train' or 'coco'"):
        build('COCOStuff27Dataset', tmp_path / 'coco', label_ids='fine')


def slow_protocol_mask(path, side):
    """Resize and centre crop as torchvision does it, with Pillow."""
    with Image.open(path) as mask:
        width, height = mask.size
        long = int(side * max(width, height) / min(width, height))
        size = (side, long) if width <= height else (long, side)
        mask = mask.resize(size, Image.Resampling.NEAREST)
        left, top = (round((length - side) / 2) for length in size)
        return np.array(mask.crop((left, top, left + side, top + side)))


def test_the_protocol_equals_a_slow_one(tmp_path):
    sizes = [(40, 57), (71, 33), (32, 32), (25, 90)]
    write_files(tmp_path, '.png', '.png', range(7), sizes)
    data = build('Potsdam3Dataset', tmp_path)
    metric = UnsupervisedIoUMetric(4, background=None)
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = data.metainfo
    random, slow = np.random.default_rng(1), []
    for index in range(len(data)):
        sample = data[index]['data_samples']
        assert sample.ori_shape == sample.gt_sem_seg.shape == (32, 32)
        fine = slow_protocol_mask(tmp_path / f'masks/{index}.png', 32)
        truth = np.array([255, 0, 1, 2, 2, 0, 1])[fine]
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], truth)
        followed = np.array([3, 1, 0])[np.where(truth == 255, 0, truth)]
        noise = random.integers(4, size=truth.shape)
        predicted = np.where(random.random(truth.shape) < 0.6, followed, noise)
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(predicted)[None])
        evaluator.process([sample])
        slow.append((predicted, truth))
    scores = evaluator.evaluate(len(data))
    assert (scores['mIoU'], scores['aAcc']) == slow_protocol(slow, 4, 3)


@pytest.mark.parametrize(
    ('kind', 'img_suffix', 'seg_map_suffix', 'num_classes'),
    [
        ('CityscapesDataset', '_leftImg8bit.png', '_gtFine_labelTrainIds.png', 19),
        ('COCOStuffDataset', '.jpg', '_labelTrainIds.png', 171),
    ],
)
def test_clusters_on_data_sets_of_mmseg(tmp_path, kind, img_suffix, seg_map_suffix, num_classes):
    ids = [*range(num_classes), 255]
    write_files(tmp_path, img_suffix, seg_map_suffix, ids, [(40, 57), (71, 33)])
    loading = [dict(type=f'Load{name}') for name in ('ImageFromFile', 'Annotations')]
    data = build(kind, tmp_path, [*loading, dict(type='PackSegInputs')])
    evaluator = Evaluator(UnsupervisedIoUMetric(num_classes, background=None))
    evaluator.dataset_meta = data.metainfo
    random = np.random.default_rng(1)
    clusters = random.permutation(num_classes)
    for index in range(len(data)):
        sample = data[index]['data_samples']
        truth = sample.gt_sem_seg.data.numpy()
        assert (truth == 255).any()
        predicted = np.where(truth == 255, 0, clusters[np.minimum(truth, num_classes - 1)])
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(predicted))
        evaluator.process([sample])
    scores = evaluator.evaluate(len(data))
    assert scores['mIoU'] == scores['aAcc'] == 100
