import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from luss_mm.datasets.transforms import RandomResizedSegCrop
from luss_mm.datasets.transforms.resizing import draw_crop

RATIO = (3 / 4, 4 / 3)


def torchvision_crops(height, width, scale, number):
    image = torch.zeros(3, height, width)
    for _ in range(number):
        top, left, h, w = RandomResizedCrop.get_params(image, list(scale), list(RATIO))
        yield left, top, w, h


@pytest.mark.parametrize(
    ('height', 'width', 'scale'),
    [
        (375, 500, (0.14, 1.0)),
        (375, 500, (0.05, 0.14)),
        (500, 333, (0.08, 1.0)),
        (96, 96, (0.3, 1.0)),
        (100, 260, (0.08, 1.0)),  # many draws do not fit
    ],
)
def test_distributed_as_torchvisions(height, width, scale):
    number = 2000
    np.random.seed(0)
    torch.manual_seed(0)
    ours = np.array([draw_crop(height, width, scale) for _ in range(number)], float)
    theirs = np.array(list(torchvision_crops(height, width, scale, number)), float)
    for crops in (ours, theirs):
        assert (crops[:, :2] >= 0).all() and (crops[:, 2:] >= 1).all()
        assert (crops[:, :2] + crops[:, 2:] <= (width, height)).all()

    def quantities(crops):
        left, top, w, h = crops.T
        return dict(area=w * h, aspect=w / h, left=left, top=top, right=left + w, bottom=top + h)

    for name, value in quantities(ours).items():
        p = ks_2samp(value, quantities(theirs)[name]).pvalue
        assert p > 0.01, (name, p)


@pytest.mark.parametrize('shape', [(1, 1), (1, 100), (100, 1), (9, 1000), (1000, 9), (2, 3)])
def test_thin_images_take_torchvisions_central_crop(shape):
    """No allowed crop fits, or hardly any does: always inside, the fallback in the centre."""
    height, width = shape
    np.random.seed(0)
    for _ in range(50):
        left, top, w, h = draw_crop(height, width, (0.9, 1.0))
        assert 0 <= left and 0 <= top and 1 <= w and 1 <= h
        assert left + w <= width and top + h <= height
    if max(shape) >= 9 * min(shape):
        (expected,) = torchvision_crops(height, width, (0.9, 1.0), 1)
        assert (left, top, w, h)[2:] == expected[2:]
        assert abs(left - expected[0]) <= 1 and abs(top - expected[1]) <= 1


def test_label_maps_stay_with_their_image():
    """A block image whose colours tell the label, cut into blocks of 16 pixels."""
    ids = np.array([[0, 255, 256], [919, 1000, 7]], np.int32)
    labels = np.kron(ids, np.ones((48, 48), np.int32))
    image = np.stack([labels % 256, labels // 256 * 50, 0 * labels], -1).astype(np.uint8)
    transform = RandomResizedSegCrop(size=40, scale=(0.2, 1.0))
    whole_blocks = 0
    for seed in range(20):
        np.random.seed(seed)
        results = transform(
            dict(img=image, gt_seg_map=labels, other=labels * 2, seg_fields=['gt_seg_map', 'other'])
        )
        cut = results['gt_seg_map']
        assert results['img'].shape == (40, 40, 3) and results['img_shape'] == (40, 40)
        assert cut.shape == (40, 40) and cut.dtype == np.int32 and set(cut.flat) <= set(ids.flat)
        np.testing.assert_array_equal(results['other'], 2 * cut)
        colours = np.stack([cut % 256, cut // 256 * 50, 0 * cut], -1)
        agree = (np.abs(results['img'] - colours) <= 1).all(-1)
        # Only pixels on the edges of blocks may mix.
        assert agree.mean() > 0.85
        whole_blocks += agree.mean()
    assert whole_blocks / 20 > 0.9
